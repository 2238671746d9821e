//! What both servers do with a call, and what a defect makes of it.

use super::{CrdDefect, CrdWorld, REFUSED};
use crate::{
    cluster::SPIFFE_ID_FINALIZER,
    entry::{EntryId, RegisteredEntry},
    ports::{
        Definition, Failure, FailureClass, KubeAnswer, KubeCall, KubeReply, Outcome, SpireAnswer,
        SpireCall,
    },
    rules::Tuple,
};

/// What the IDs of entries end with that a defect makes.
const TWIN: &str = ".twin";

impl CrdWorld {
    /// What a defect makes of a call before it is sent.
    pub(super) fn spoil(&self, call: &mut SpireCall) {
        let SpireCall::Delete { ids } = call else {
            return;
        };
        match self.defect {
            Some(CrdDefect::TouchesForeign) => *ids = vec![self.foreign.id.clone()],
            Some(CrdDefect::DeletesOneMore) => {
                let asked = |e: &&RegisteredEntry| self.is_asked_for(e);
                let living = self.server.entries().find(asked).map(|e| e.id.clone());
                ids.extend(living.filter(|id| !ids.contains(id)));
            }
            _ => {}
        }
    }

    /// The SPIRE Server performs a call, but for what it refuses.
    pub(super) fn serve(&mut self, call: &SpireCall) -> SpireAnswer {
        if let (SpireCall::Delete { ids }, Some(CrdDefect::LosesDeletes)) = (call, self.defect) {
            return SpireAnswer::Written(vec![Outcome::Ok; ids.len()]);
        }
        let (SpireCall::Create { entries } | SpireCall::Update { entries, .. }) = call else {
            let mut answer = self.server.perform(call, usize::MAX);
            if let SpireAnswer::Page { entries, .. } = &mut answer {
                entries.retain(|e| !self.hides(e));
            }
            return answer;
        };
        let mut outcomes = Vec::new();
        for item in entries {
            if self.refusing && item.1.spiffe_id.path() == REFUSED {
                let failure = Failure::new(FailureClass::Permanent, "refused by the model");
                outcomes.push(Outcome::Refused(failure));
                continue;
            }
            let entries = vec![item.clone()];
            let one = match call {
                SpireCall::Update { mask, .. } => SpireCall::Update {
                    mask: *mask,
                    entries,
                },
                _ => SpireCall::Create { entries },
            };
            if let SpireAnswer::Written(done) = self.server.perform(&one, usize::MAX) {
                self.make_twin(&item.0, call, &done);
                outcomes.extend(done);
            }
        }
        SpireAnswer::Written(outcomes)
    }

    fn hides(&self, entry: &RegisteredEntry) -> bool {
        match self.defect {
            Some(CrdDefect::HidesOrphans) => {
                entry.id != self.foreign.id && !self.is_asked_for(entry)
            }
            Some(CrdDefect::MakesTwins) => entry.id.as_str().ends_with(TWIN),
            _ => false,
        }
    }

    fn make_twin(&mut self, id: &EntryId, call: &SpireCall, done: &[Outcome]) {
        let made = matches!((call, done), (SpireCall::Create { .. }, [Outcome::Ok]));
        if let Some(entry) = self.server.get(id).cloned()
            && made
            && self.defect == Some(CrdDefect::MakesTwins)
        {
            let id = EntryId::stored(&format!("{id}{TWIN}"));
            self.server.put(RegisteredEntry { id, ..entry });
        }
    }

    /// The Kubernetes API performs a call.
    pub(super) fn serve_kube(&mut self, call: &KubeCall) -> KubeReply {
        let (name, lost) = match (call, self.defect) {
            (KubeCall::ReadDefinition, Some(CrdDefect::MissesTheEndOfTheDefinition)) => {
                let reply = self.api.perform(call);
                return reply.map(|answer| match answer {
                    KubeAnswer::Definition(Some(d)) => KubeAnswer::Definition(Some(Definition {
                        terminating: false,
                        ..d
                    })),
                    answer => answer,
                });
            }
            (KubeCall::WriteStatus { name, .. }, Some(CrdDefect::LosesStatuses)) => (name, true),
            (
                KubeCall::SetFinalizers {
                    name, finalizers, ..
                },
                Some(CrdDefect::LosesFinalizers),
            ) => {
                let leaves = !finalizers.iter().any(|f| &**f == SPIFFE_ID_FINALIZER);
                (name, leaves)
            }
            _ => return self.api.perform(call),
        };
        match self.api.objects.get(name).filter(|_| lost) {
            Some(as_it_was) => Ok(KubeAnswer::Written(Box::new(as_it_was.clone()))),
            None => self.api.perform(call),
        }
    }

    pub(super) fn is_refused(&self, tuple: &Tuple) -> bool {
        self.refusing && tuple.spiffe_id().path() == REFUSED
    }
}
