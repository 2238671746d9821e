//! Programs that live no longer than we do.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

type Spawned = std::io::Result<Child>;

/// Children end with the *thread* that started them (PR_SET_PDEATHSIG), so one thread that never ends starts them all.
fn spawn(command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // Nobody waits for the answer only if the caller's thread is gone.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = mpsc::channel();
    spawner
        .send((command, answer))
        .map_err(std::io::Error::other)?;
    answered.recv().map_err(std::io::Error::other)?
}

/// A running program; killed when dropped, or when we end.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts a program; what it prints is appended to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<str>>,
        env: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let name = program
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or("program")
            .to_owned();
        let mut process = Self {
            name,
            program: program.to_owned(),
            args: args.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            env: env
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            log: log.to_owned(),
            child: None,
        };
        process.start_again()?;
        Ok(process)
    }

    /// Starts it again, as before.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = spawn(command).with_context(|| {
            format!(
                "{} cannot be started (setpriv of util-linux is needed)",
                self.program.display()
            )
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("--- {} ---\n{tail}", self.log.display())
    }

    /// Everything it printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process ID.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(id as i32), signal);
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// SIGSTOP: frozen, until [`Process::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGUSR1.
    pub fn user_signal(&self) {
        self.signal(Signal::SIGUSR1);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|c| c.try_wait().ok().flatten())
    }

    /// Fails, with the end of its log, if it has ended.
    ///
    /// # Errors
    /// As said.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        match self.ended() {
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        self.kill();
    }
}

/// A fresh folder that is removed when we end, however we end.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Reads our end of a pipe; when that closes, it removes the folder.
    janitor: Child,
}

impl Scratch {
    /// Makes one with a short path, so that sockets in it stay below 108 bytes.
    ///
    /// # Errors
    /// As the system says.
    pub fn new() -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let path = tempfile::Builder::new()
            .prefix("kwr-")
            .tempdir_in("/tmp")?
            .keep();
        let janitor = Command::new("sh")
            .args(["-c", "cat >/dev/null; rm -rf -- \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            // Not in our process group: Ctrl-C must not end it before its work is done.
            .process_group(0)
            .spawn()?;
        Ok(Self { path, janitor })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// A TCP port of 127.0.0.1 that is free now, and that this process gives to nobody else. It is below those that Linux takes for
/// connections, so that none of ours, made between now and its use, can have it.
///
/// # Errors
/// If none is free.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let next = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "no port of 127.0.0.1 between {FIRST} and {} is free",
        FIRST + COUNT
    )
}
