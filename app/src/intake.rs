//! Admission reviews on their way to the machine, and the answers on their way back.

use std::{collections::BTreeMap, io, sync::Arc};

use registrar_adapters::{admission::Asked, kubernetes};
use registrar_core::{
    cluster::ObjectKey,
    policy::WantedMetadata,
    sync::{Event, LookUp, ReviewId},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tracing::warn;

/// Reads of single objects at a time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// What comes in.
#[derive(Debug)]
pub enum Incoming {
    /// For the machine.
    Event(Event),
    /// The server has ended: every request that was under way is answered.
    Ended(io::Result<()>),
}

type Answer = oneshot::Sender<Result<(), Arc<str>>>;

/// The reviews of one server.
#[derive(Debug)]
pub struct Intake {
    asked: mpsc::Receiver<Asked>,
    answers: BTreeMap<ReviewId, Answer>,
    count: u64,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<()>>,
    look_ups: LookUps,
}

/// Objects that are looked up once more.
pub struct LookUps {
    client: Option<kubernetes::Client>,
    wanted: Arc<WantedMetadata>,
    turns: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<(ObjectKey, LookUp)>,
    found: mpsc::UnboundedReceiver<(ObjectKey, LookUp)>,
}

impl std::fmt::Debug for LookUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookUps")
    }
}

impl LookUps {
    /// With this client, reading of them what is wanted; without one nothing is looked up.
    pub fn new(client: Option<kubernetes::Client>, wanted: Arc<WantedMetadata>) -> Self {
        // Their number is bounded by what the machine asks for, each once.
        let (sender, found) = mpsc::unbounded_channel();
        Self {
            client,
            wanted,
            turns: Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)),
            sender,
            found,
        }
    }

    fn start(&self, key: ObjectKey) {
        let Some(client) = self.client.clone() else {
            return;
        };
        let (turns, sender) = (self.turns.clone(), self.sender.clone());
        let wanted = self.wanted.clone();
        tokio::spawn(async move {
            let Ok(_turn) = turns.acquire().await else {
                return;
            };
            let found = kubernetes::look_up(&client, &key, &wanted).await;
            if let LookUp::Failed(why) = &found {
                warn!(object = %key, reason = %why, "An object cannot be looked up");
            }
            // Without a receiver the program is ending.
            let _ = sender.send((key, found));
        });
    }
}

impl Intake {
    /// Of the server that runs as `serving` and ends when `stop` is sent.
    pub fn new(
        asked: mpsc::Receiver<Asked>,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<io::Result<()>>,
        look_ups: LookUps,
    ) -> Self {
        Self {
            asked,
            answers: BTreeMap::new(),
            count: 0,
            stop: Some(stop),
            serving,
            look_ups,
        }
    }

    /// What comes in next.
    pub async fn next(&mut self) -> Incoming {
        tokio::select! {
            Some(asked) = self.asked.recv() => Incoming::Event(self.take(asked)),
            Some((key, found)) = self.look_ups.found.recv() => {
                Incoming::Event(Event::LookedUp(key, found))
            }
            ended = &mut self.serving => {
                Incoming::Ended(ended.unwrap_or_else(|e| Err(io::Error::other(e))))
            }
        }
    }

    /// What else is there already.
    pub fn ready(&mut self) -> Option<Event> {
        if let Ok(asked) = self.asked.try_recv() {
            return Some(self.take(asked));
        }
        let (key, found) = self.look_ups.found.try_recv().ok()?;
        Some(Event::LookedUp(key, found))
    }

    fn take(&mut self, asked: Asked) -> Event {
        self.count += 1;
        let id = ReviewId(self.count);
        self.answers.insert(id, asked.answer);
        Event::Reviewed {
            id,
            review: asked.review,
            patience: asked.patience,
        }
    }

    /// Sends answers back, and begins look-ups.
    pub fn perform(
        &mut self,
        answers: Vec<(ReviewId, Result<(), Arc<str>>)>,
        look_ups: Vec<ObjectKey>,
    ) {
        for (id, answer) in answers {
            if let Err(why) = &answer {
                warn!(reason = %why, "A review is answered with a failure");
            }
            if let Some(waiting) = self.answers.remove(&id) {
                // The client may have gone away.
                let _ = waiting.send(answer);
            }
        }
        for key in look_ups {
            self.look_ups.start(key);
        }
    }

    /// Asks the server to end; it tells when it has, by [`Incoming::Ended`]. Whether it had not been asked before.
    pub fn stop(&mut self) -> bool {
        self.stop.take().is_some_and(|stop| stop.send(()).is_ok())
    }
}
