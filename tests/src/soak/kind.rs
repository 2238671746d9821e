//! What can fail, what it hits, and for how long.

use super::mode::Mode;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL; started again at the end.
    SpireKilled,
    /// SIGSTOP.
    SpireFrozen,
    /// SIGKILL; started again at the end.
    ApiKilled,
    /// SIGSTOP.
    ApiFrozen,
    /// SIGKILL; started again at the end.
    RegistrarKilled,
    /// SIGSTOP.
    RegistrarFrozen,
    /// Whatever it logs.
    DiskFull,
    /// It can open no more.
    FilesExhausted,
    /// No connection to SPIRE.
    SpireWayCut,
    /// A connection to SPIRE ends, most often in a frame.
    SpireWayCutInFrame,
    /// Nothing passes, nothing ends.
    SpireWayStill,
    /// No connection to the API server.
    ApiWayCut,
    /// A connection to the API server ends, most often in a frame.
    ApiWayCutInFrame,
    /// Nothing passes, nothing ends.
    ApiWayStill,
    /// Of the relay.
    BadFates,
    /// All requests.
    ApiStatus,
    /// Lists and the Lease.
    ApiHalf,
    /// Each event.
    WatchTwice,
    /// Between objects.
    WatchReordered,
    /// As the last one was.
    StaleList,
    /// No watch can be resumed.
    HistoryGone,
    /// By somebody else.
    EntryTaken,
    /// By somebody else.
    EntryChanged,
    /// For those of an authority that the other side does not know.
    CertificatesSwapped,
    /// As if it were being written.
    CertificateHalf,
    /// No connection from the API server to the webhook.
    WebhookWayCut,
    /// Nothing passes, nothing ends.
    WebhookWayStill,
}

/// Kinds and names.
const KINDS: [(Kind, &str); 27] = [
    (Kind::SpireKilled, "spire-server killed"),
    (Kind::SpireFrozen, "spire-server frozen"),
    (Kind::ApiKilled, "kube-apiserver killed"),
    (Kind::ApiFrozen, "kube-apiserver frozen"),
    (Kind::RegistrarKilled, "a registrar killed"),
    (Kind::RegistrarFrozen, "a registrar frozen"),
    (Kind::DiskFull, "disk full at log_path"),
    (Kind::FilesExhausted, "file descriptors exhausted"),
    (Kind::SpireWayCut, "the way to SPIRE cut"),
    (
        Kind::SpireWayCutInFrame,
        "the way to SPIRE cut after some bytes",
    ),
    (Kind::SpireWayStill, "nothing passes to or from SPIRE"),
    (Kind::ApiWayCut, "the way to the API server cut"),
    (
        Kind::ApiWayCutInFrame,
        "the way to the API server cut after some bytes",
    ),
    (
        Kind::ApiWayStill,
        "nothing passes to or from the API server",
    ),
    (
        Kind::BadFates,
        "SPIRE calls and items late, refused or unanswered",
    ),
    (Kind::ApiStatus, "API requests answered with an error"),
    (Kind::ApiHalf, "API answers that end in the middle"),
    (Kind::WatchTwice, "watch events twice"),
    (Kind::WatchReordered, "watch events in another order"),
    (Kind::StaleList, "an old list after an expired watch"),
    (Kind::HistoryGone, "etcd compacted and watches broken"),
    (Kind::EntryTaken, "a third party deletes an entry of ours"),
    (Kind::EntryChanged, "a third party changes an entry of ours"),
    (
        Kind::CertificatesSwapped,
        "certificate files swapped for a stranger's",
    ),
    (Kind::CertificateHalf, "half of a certificate file"),
    (Kind::WebhookWayCut, "the way to the webhook cut"),
    (
        Kind::WebhookWayStill,
        "nothing passes to or from the webhook",
    ),
];

/// What it hits: one at a time of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The SPIRE Server.
    Spire,
    /// The API server.
    Api,
    /// A registrar.
    Process(usize),
    /// Its bytes.
    SpireWay(usize),
    /// Its bytes.
    ApiWay(usize),
    /// Its calls.
    Fates(usize),
    /// Its requests.
    Objects(usize),
    /// An entry of ours.
    Entry,
    /// The webhook's files.
    Certificates,
    /// Its bytes.
    WebhookWay,
}

/// The kinds that there are in a mode, and their names.
pub fn kinds(mode: Mode) -> Vec<(Kind, &'static str)> {
    let asked = mode == Mode::Webhook;
    let there = |kind: Kind| asked || !kind.target(0).is_the_webhooks();
    KINDS.into_iter().filter(|(kind, _)| there(*kind)).collect()
}

impl Target {
    fn is_the_webhooks(self) -> bool {
        matches!(self, Target::Certificates | Target::WebhookWay)
    }
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        let named = KINDS.iter().find(|(kind, _)| *kind == self);
        named.map_or("", |(_, name)| name)
    }

    /// What it hits, where it hits one replica: this one.
    pub fn target(self, replica: usize) -> Target {
        match self {
            Kind::SpireKilled | Kind::SpireFrozen => Target::Spire,
            Kind::ApiKilled | Kind::ApiFrozen => Target::Api,
            Kind::RegistrarKilled
            | Kind::RegistrarFrozen
            | Kind::DiskFull
            | Kind::FilesExhausted => Target::Process(replica),
            Kind::SpireWayCut | Kind::SpireWayCutInFrame | Kind::SpireWayStill => {
                Target::SpireWay(replica)
            }
            Kind::ApiWayCut | Kind::ApiWayCutInFrame | Kind::ApiWayStill => Target::ApiWay(replica),
            Kind::BadFates => Target::Fates(replica),
            Kind::ApiStatus
            | Kind::ApiHalf
            | Kind::WatchTwice
            | Kind::WatchReordered
            | Kind::StaleList
            | Kind::HistoryGone => Target::Objects(replica),
            Kind::EntryTaken | Kind::EntryChanged => Target::Entry,
            Kind::CertificatesSwapped | Kind::CertificateHalf => Target::Certificates,
            Kind::WebhookWayCut | Kind::WebhookWayStill => Target::WebhookWay,
        }
    }

    /// How long it lasts, in milliseconds.
    pub fn lasts(self) -> (usize, usize) {
        match self {
            Kind::SpireFrozen | Kind::ApiFrozen | Kind::RegistrarFrozen => (200, 20_000),
            Kind::BadFates
            | Kind::DiskFull
            | Kind::WatchTwice
            | Kind::WatchReordered
            | Kind::CertificatesSwapped
            | Kind::CertificateHalf => (2000, 15_000),
            _ => (100, 6000),
        }
    }
}
