//! What can wait gives way to what cannot: the server writes one thing after the other, so a new pod that comes while entries
//! are updated waits for all that is under way, and for what would follow it.

use std::time::Duration;

use super::Now;

/// How long what can wait stands back at a time. Creates may come without a pause; updates and deletes must not starve.
const STANDS_BACK: Duration = Duration::from_millis(50);
/// After a call that could not wait the next is expected for so long.
const EXPECTS: Duration = Duration::from_millis(500);

/// Which calls that cannot wait are under way, and when the last one was.
#[derive(Debug, Default)]
pub(super) struct Precedence {
    under_way: usize,
    /// Since when some have been under way and nothing that can wait was sent beside them.
    since: Now,
    last: Option<Now>,
}

impl Precedence {
    pub(super) fn launched(&mut self, now: Now, patient: bool) {
        if patient {
            self.since = now;
            return;
        }
        if self.under_way == 0 {
            self.since = now;
        }
        self.under_way += 1;
        self.last = Some(now);
    }

    pub(super) fn ended(&mut self, now: Now, patient: bool) {
        if !patient {
            self.under_way -= 1;
            self.last = Some(now);
        }
    }

    /// Whether what can wait stands back for now.
    pub(super) fn stands_back(&self, now: Now) -> bool {
        self.stands_back_until().is_some_and(|until| now < until)
    }

    /// When it goes on, whatever is under way then.
    pub(super) fn stands_back_until(&self) -> Option<Now> {
        (self.under_way > 0).then(|| self.since + STANDS_BACK)
    }

    /// Whether another call that cannot wait may come before one that can would have ended. Where such calls never cease,
    /// what can wait is sent beside them now and then, and may be long.
    pub(super) fn expects_another(&self, now: Now) -> bool {
        self.under_way == 0 && self.last.is_some_and(|last| now < last + EXPECTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_stands_back_for_nothing() {
        let mut order = Precedence::default();
        assert!(!order.stands_back(ms(0)) && !order.expects_another(ms(0)));
        order.launched(ms(1), true);
        assert!(!order.stands_back(ms(1)) && !order.expects_another(ms(1)));
        order.ended(ms(2), true);
        assert_eq!(order.stands_back_until(), None);
    }

    #[test]
    fn it_ends_with_the_last_of_those_under_way() {
        let mut order = Precedence::default();
        order.launched(ms(10), false);
        order.launched(ms(20), false);
        order.ended(ms(30), false);
        assert!(order.stands_back(ms(30)));
        order.ended(ms(40), false);
        assert!(!order.stands_back(ms(40)));
        let expects: Vec<bool> = [40, 539, 540]
            .map(|at| order.expects_another(ms(at)))
            .into();
        assert_eq!(expects, [true, true, false]);
    }

    #[test]
    fn it_never_lasts_longer_than_fifty_milliseconds() {
        let mut order = Precedence::default();
        for at in [100, 130, 149] {
            order.launched(ms(at), false);
            assert!(order.stands_back(ms(at)), "at {at}");
        }
        assert!(!order.stands_back(ms(150)));
        // One that can wait was sent: the next stands back again.
        order.launched(ms(150), true);
        assert!(order.stands_back(ms(199)) && !order.stands_back(ms(200)));
    }
}
