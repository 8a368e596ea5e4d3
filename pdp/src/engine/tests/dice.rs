//! Chance that can be repeated.

/// The same throws for the same seed, everywhere and always (SplitMix64).
pub(crate) struct Dice {
    state: u64,
    /// Whether everything is what a schema says, as far as chance knows it.
    pub(crate) typed: bool,
}

// === impl Dice ===

impl Dice {
    pub(crate) fn new(seed: u64, typed: bool) -> Self {
        Self { state: seed, typed }
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.throw() % limit as u64).unwrap()
    }

    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}
