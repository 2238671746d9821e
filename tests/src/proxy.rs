//! A proxy before a server's TCP port or Unix socket that can fail as networks do: slow, still, cut anywhere.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

/// Passes connections on to a server, until it is told not to.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum Target {
    /// Whichever takes it, the next one first.
    Ports(Vec<SocketAddr>),
    Socket(PathBuf),
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Target>,
    cut: AtomicBool,
    accepted: AtomicUsize,
    connections: Mutex<Vec<AbortHandle>>,
    still: watch::Sender<bool>,
    /// How many bytes more may pass; negative is without end.
    left: AtomicI64,
}

impl Proxy {
    /// In front of this port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Shared::new(Target::Ports(vec![([127, 0, 0, 1], target).into()]));
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    shared.take(client);
                }
            }
        });
        Ok(Self {
            port,
            shared,
            accepting,
        })
    }

    /// At this Unix socket, in front of another one.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn at_socket(socket: &Path, target: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let shared = Shared::new(Target::Socket(target.to_owned()));
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    shared.take(client);
                }
            }
        });
        Ok(Self {
            port: 0,
            shared,
            accepting,
        })
    }

    /// Where it listens; 0 at a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that it has taken so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// From now on new connections go to another port.
    pub fn lead_to(&self, target: u16) {
        *lock(&self.shared.target) = Target::Ports(vec![([127, 0, 0, 1], target).into()]);
        self.drop_connections();
    }

    /// From now on each new connection goes to the next of these ports that takes it, as through a Service.
    pub fn lead_to_any(&self, targets: &[u16]) {
        let addresses = targets.iter().map(|port| ([127, 0, 0, 1], *port).into());
        *lock(&self.shared.target) = Target::Ports(addresses.collect());
        self.drop_connections();
    }

    /// Breaks every connection, once.
    pub fn drop_connections(&self) {
        self.shared.drop_connections();
    }

    /// Breaks every connection, and every new one at once.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Breaks every connection once so many bytes more have passed: most often in the middle of a frame.
    pub fn cut_after(&self, bytes: u32) {
        self.shared.left.store(bytes.into(), Ordering::SeqCst);
    }

    /// From now on nothing passes, and no connection breaks.
    pub fn be_still(&self) {
        self.shared.still.send_replace(true);
    }

    /// Lets connections and bytes through again.
    pub fn heal(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
        self.shared.left.store(-1, Ordering::SeqCst);
        self.shared.still.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.drop_connections();
    }
}

impl Shared {
    fn new(target: Target) -> Arc<Self> {
        Arc::new(Self {
            target: Mutex::new(target),
            cut: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            connections: Mutex::default(),
            still: watch::Sender::new(false),
            left: AtomicI64::new(-1),
        })
    }

    fn drop_connections(&self) {
        for connection in lock(&self.connections).drain(..) {
            connection.abort();
        }
    }

    fn take(self: &Arc<Self>, client: impl AsyncRead + AsyncWrite + Send + 'static) {
        if self.cut.load(Ordering::SeqCst) {
            return;
        }
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        let mut target = lock(&self.target).clone();
        if let Target::Ports(addresses) = &mut target {
            let first = number % addresses.len().max(1);
            addresses.rotate_left(first);
        }
        let shared = self.clone();
        let passing = tokio::spawn(async move {
            // That one side went away is what a proxy is there for.
            let _ = match target {
                Target::Ports(addresses) => match TcpStream::connect(&*addresses).await {
                    Ok(server) => shared.pass(client, server).await,
                    Err(error) => Err(error),
                },
                Target::Socket(path) => match UnixStream::connect(path).await {
                    Ok(server) => shared.pass(client, server).await,
                    Err(error) => Err(error),
                },
            };
        });
        let mut connections = lock(&self.connections);
        connections.retain(|c| !c.is_finished());
        connections.push(passing.abort_handle());
    }

    async fn pass(
        &self,
        client: impl AsyncRead + AsyncWrite,
        server: impl AsyncRead + AsyncWrite,
    ) -> io::Result<()> {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        let (there, back) = (
            self.one_way(from_client, to_server),
            self.one_way(from_server, to_client),
        );
        tokio::try_join!(there, back)?;
        Ok(())
    }

    async fn one_way(&self, from: impl AsyncRead, to: impl AsyncWrite) -> io::Result<()> {
        let (mut from, mut to) = (std::pin::pin!(from), std::pin::pin!(to));
        let mut still = self.still.subscribe();
        let mut bytes = vec![0; 16 << 10];
        loop {
            let count = from.read(&mut bytes).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            // The sender is ours, so this ends when it is told to.
            let _ = still.wait_for(|still| !still).await;
            let some = self.allowed(count);
            to.write_all(&bytes[..some]).await?;
            if some < count {
                to.flush().await?;
                self.left.store(-1, Ordering::SeqCst);
                self.drop_connections();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// How many of so many bytes may pass.
    fn allowed(&self, count: usize) -> usize {
        let spend = |left: i64| (left >= 0).then(|| (left - count as i64).max(0));
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend)
        {
            Ok(left) => count.min(left as usize),
            Err(_) => count,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
