//! The order of last use of a set of small numbers: a doubly linked list through an array.
//!
//! Every operation takes constant time. Invariants: a number is in the list at most once; `next` leads towards the least
//! recently used and `previous` back; both ends of an absent number are [`ABSENT`].

/// The end of the list.
const NONE: u32 = u32::MAX;

/// In both links of a number that is not in the list.
const ABSENT: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// Numbers in the order in which they were last used.
#[derive(Clone, Debug)]
pub struct Recency {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency {
            links: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }
}

impl Recency {
    /// Puts a number at the front, wherever it was.
    pub fn touch(&mut self, number: u32) {
        assert!(number < ABSENT);
        if self.newest == number {
            return;
        }
        self.remove(number);
        let index = number as usize;
        if index >= self.links.len() {
            self.links.resize(
                index + 1,
                Link {
                    previous: ABSENT,
                    next: ABSENT,
                },
            );
        }
        self.links[index] = Link {
            previous: NONE,
            next: self.newest,
        };
        match self.newest {
            NONE => self.oldest = number,
            newest => self.links[newest as usize].previous = number,
        }
        self.newest = number;
    }

    /// Puts a number at the front if it is in.
    pub fn refresh(&mut self, number: u32) {
        if self.contains(number) {
            self.touch(number);
        }
    }

    /// Has a number in or not. One that comes in comes to the front; one that is in stays where it is.
    pub fn hold(&mut self, number: u32, held: bool) {
        if !held {
            self.remove(number);
        } else if !self.contains(number) {
            self.touch(number);
        }
    }

    /// Takes a number out, if it is in.
    pub fn remove(&mut self, number: u32) {
        let Some(link) = self.links.get_mut(number as usize) else {
            return;
        };
        let Link { previous, next } = *link;
        if next == ABSENT {
            return;
        }
        *link = Link {
            previous: ABSENT,
            next: ABSENT,
        };
        match previous {
            NONE => self.newest = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.oldest = previous,
            next => self.links[next as usize].previous = previous,
        }
    }

    /// The least recently used number.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Whether a number is in.
    pub fn contains(&self, number: u32) -> bool {
        self.links
            .get(number as usize)
            .is_some_and(|link| link.next != ABSENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut recency: Recency) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(oldest) = recency.oldest() {
            recency.remove(oldest);
            assert!(!recency.contains(oldest));
            order.push(oldest);
        }
        order
    }

    #[test]
    fn touching_and_removing_any_position_keeps_the_order() {
        let mut recency = Recency::default();
        assert_eq!(recency.oldest(), None);
        recency.remove(7);
        for number in [3, 1, 4, 1, 5, 9, 2, 6, 5] {
            recency.touch(number);
        }
        assert_eq!(drain(recency.clone()), [3, 4, 1, 9, 2, 6, 5]);
        recency.remove(9); // the middle
        recency.remove(3); // the oldest
        recency.remove(5); // the newest
        recency.remove(5); // nothing
        assert_eq!(drain(recency.clone()), [4, 1, 2, 6]);
        recency.touch(4);
        recency.touch(3);
        assert_eq!(drain(recency), [1, 2, 6, 4, 3]);
    }
}
