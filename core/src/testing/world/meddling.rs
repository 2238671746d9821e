//! Someone else who writes to the server.

use super::{Action, World};
use crate::{
    entry::{EntryId, RegisteredEntry},
    rules::{Ownership, classify},
};

impl World {
    /// Our entries on the server, by the rules of ownership.
    pub(super) fn owned(&self) -> Vec<RegisteredEntry> {
        let ours = |e: &&RegisteredEntry| matches!(classify(&self.policy, e), Ownership::Ours(_));
        self.server.entries().filter(ours).cloned().collect()
    }

    pub(super) fn meddle(&mut self, action: Action) {
        let owned = self.owned();
        let (Action::Vandal(n) | Action::Forger(n) | Action::Copyist(n)) = action else {
            return;
        };
        let Some(entry) = owned.get(usize::from(n) % owned.len().max(1)) else {
            return;
        };
        self.seen.count("meddling");
        self.meddled.extend(self.reviews.keys());
        match action {
            Action::Vandal(_) => drop(self.server.remove(&entry.id)),
            Action::Forger(_) => {
                let forged = self.id("/forged");
                if self.untold.contains(&entry.id) {
                    // Nobody could tell for whom it was written last.
                    self.made_for.remove(&entry.id);
                }
                self.server.change(&entry.id, |e| e.spiffe_id = forged);
            }
            _ => {
                self.uids += 1;
                let id = EntryId::stored(&format!("copy-{}", self.uids));
                // The server refuses similar entries, so a copy differs: by its SPIFFE ID, say.
                let copy = RegisteredEntry {
                    id,
                    spiffe_id: self.id("/copied"),
                    ..entry.clone()
                };
                self.server.put(copy);
            }
        }
    }
}
