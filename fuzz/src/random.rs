//! Pseudo-random numbers (SplitMix64, Steele, Lea and Flood, OOPSLA 2014): what an input's few bytes are stretched with where
//! libFuzzer's mutations of every single bit would be of no use.

/// A generator whose seed gives all that follows.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }

    /// A 64-bit number of the kind that errors hide behind: small, close to a power of two, or anything.
    pub fn interesting(&mut self) -> u64 {
        let near = self.below(5).wrapping_sub(2);
        match self.below(8) {
            0 => self.below(16),
            1 => near,
            2 => (1u64 << self.below(64)).wrapping_add(near),
            3 => (1u64 << self.below(64)).wrapping_neg().wrapping_add(near),
            4 => self.below(1 << 18),
            5 => 0x1_0000 * self.below(12) + near % 0x1_0000,
            _ => self.number(),
        }
    }
}
