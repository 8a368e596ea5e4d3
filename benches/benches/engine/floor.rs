//! What memory alone takes: the least that any store could take for the same questions.

use std::hint::black_box;

use crate::measure::{Measure, Times, each, in_turn, tell};
use crate::scene::Dice;

/// How many entities there are.
const ENTITIES: &[usize] = if cfg!(debug_assertions) {
    &[1_000]
} else {
    &[1_000, 1_000_000]
};
/// Distinct questions.
const QUESTIONS: usize = 10_000;

/// A line of the processor's caches.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(u64);

/// As much as an entity is.
type Place = [Line; 4];

/// A question is two of so many places, one of each half, drawn as the questions about entities are, and what it asks for is
/// a sum over both. Either it knows where they are, so that it waits for memory once, or it has to look that up in a table
/// first, as whoever is asked by name has to, and waits twice. There is no name, no hash, no policy and no answer.
pub(crate) fn by_number() {
    let worlds: Vec<World> = ENTITIES.iter().map(|number| World::new(*number)).collect();
    for (how, skewed) in [("uniform", false), ("Zipf   ", true)] {
        for (what, look) in [
            ("known place", World::at as fn(&World, usize) -> usize),
            ("looked up", World::look_up),
        ] {
            let measures = worlds.iter().map(|world| {
                let questions = world.questions(skewed);
                Box::new(move || {
                    each(&questions, |(one, other)| {
                        world.sum([look(world, *one), look(world, *other)])
                    })
                }) as Measure<'_>
            });
            let times: Vec<Times> = in_turn(measures);
            for (number, time) in ENTITIES.iter().zip(&times) {
                let beside = times.first().map(|few| time.beside(few));
                tell(&format!(
                    "memory alone, {how}, {what}, {number:>7} places: {}; {}",
                    time.text(),
                    beside.unwrap_or_default()
                ));
            }
        }
    }
}

struct World {
    places: Vec<Place>,
    /// Where each is among `places`.
    table: Vec<usize>,
}

impl World {
    fn new(number: usize) -> Self {
        let mut dice = Dice(11);
        let mut table: Vec<usize> = (0..number).collect();
        for end in (1..number).rev() {
            table.swap(end, dice.below(end + 1));
        }
        let place = |n: usize| [Line(n as u64); 4];
        Self {
            places: (0..number).map(place).collect(),
            table,
        }
    }

    fn questions(&self, skewed: bool) -> Vec<(usize, usize)> {
        let half = self.table.len() / 2;
        let mut dice = Dice(7);
        let mut one = || match skewed {
            // The hot ones lie anywhere among all.
            true => dice.skewed(half) * 7919 % half,
            false => dice.below(half),
        };
        (0..QUESTIONS).map(|_| (one(), half + one())).collect()
    }

    fn at(&self, number: usize) -> usize {
        number
    }

    fn look_up(&self, number: usize) -> usize {
        self.table.get(number).copied().unwrap_or_default()
    }

    fn sum(&self, of: [usize; 2]) -> u64 {
        let places = of.into_iter().filter_map(|at| self.places.get(at));
        black_box(places.flatten().map(|line| line.0).sum())
    }
}
