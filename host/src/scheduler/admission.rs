//! How many invocations of one function may be in progress, and how many may wait for that.

use std::collections::VecDeque;

/// What becomes of an invocation that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It is in progress now, and leaves with [`Admission::leave`].
    Run,
    /// It waits, until [`Admission::leave`] of another gives it out.
    Wait,
    /// Both are full.
    Refuse,
}

/// The invocations of one function. Only a function that is busy takes memory for it.
#[derive(Clone, Debug)]
pub struct Admission<T> {
    running: u32,
    waiting: VecDeque<T>,
}

impl<T> Default for Admission<T> {
    fn default() -> Admission<T> {
        Admission {
            running: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl<T: PartialEq> Admission<T> {
    /// An invocation arrives.
    pub fn arrive(&mut self, invocation: T, concurrency_max: u32, queue_max: u32) -> Admit {
        if self.running < concurrency_max && self.waiting.is_empty() {
            self.running += 1;
            return Admit::Run;
        }
        if self.waiting.len() < queue_max as usize {
            self.waiting.push_back(invocation);
            return Admit::Wait;
        }
        Admit::Refuse
    }

    /// An invocation in progress has ended. The one that has waited longest is in progress now and is given out.
    pub fn leave(&mut self, concurrency_max: u32) -> Option<T> {
        assert!(
            self.running > 0,
            "an invocation left that was not in progress"
        );
        self.running -= 1;
        if self.running >= concurrency_max {
            return None;
        }
        let next = self.waiting.pop_front();
        if next.is_some() {
            self.running += 1;
        } else {
            self.waiting = VecDeque::new();
        }
        next
    }

    /// An invocation that waits is given up. Whether it was there.
    pub fn forget(&mut self, invocation: &T) -> bool {
        match self
            .waiting
            .iter()
            .position(|waiting| waiting == invocation)
        {
            Some(place) => {
                self.waiting.remove(place);
                true
            }
            None => false,
        }
    }

    pub fn running(&self) -> u32 {
        self.running
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_the_queue_is_in_order() {
        let mut admission = Admission::default();
        assert_eq!(admission.arrive(1, 2, 2), Admit::Run);
        assert_eq!(admission.arrive(2, 2, 2), Admit::Run);
        assert_eq!(admission.arrive(3, 2, 2), Admit::Wait);
        assert_eq!(admission.arrive(4, 2, 2), Admit::Wait);
        assert_eq!(admission.arrive(5, 2, 2), Admit::Refuse);
        assert_eq!(admission.leave(2), Some(3));
        assert_eq!(admission.arrive(6, 2, 2), Admit::Wait);
        assert_eq!((admission.running(), admission.waiting()), (2, 2));
        assert_eq!(admission.leave(2), Some(4));
        assert_eq!(admission.leave(2), Some(6));
        assert_eq!(admission.leave(2), None);
        assert_eq!(admission.leave(2), None);
        assert!(admission.is_idle());
    }

    #[test]
    fn without_a_queue_the_excess_is_refused() {
        let mut admission = Admission::default();
        assert_eq!(admission.arrive(1, 1, 0), Admit::Run);
        assert_eq!(admission.arrive(2, 1, 0), Admit::Refuse);
    }

    #[test]
    fn one_that_waits_can_be_given_up() {
        let mut admission = Admission::default();
        for invocation in 1..=3 {
            let _ = admission.arrive(invocation, 1, 9);
        }
        assert!(admission.forget(&2));
        assert!(!admission.forget(&2));
        assert_eq!(admission.leave(1), Some(3));
    }

    #[test]
    fn a_lowered_limit_is_reached_as_invocations_end() {
        let mut admission = Admission::default();
        for invocation in 1..=4 {
            let _ = admission.arrive(invocation, 3, 9);
        }
        assert_eq!(admission.leave(1), None);
        assert_eq!(admission.leave(1), None);
        assert_eq!(admission.leave(1), Some(4));
    }
}
