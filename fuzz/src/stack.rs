//! The whole host stack behind a port.
//!
//! The input is a program of what happens: a peer that knows TCP (its segments have numbers
//! relative to the connection's state, right checksums, and data that follows from the sequence
//! number alone, so that whatever order they come in they tell one stream), the network, the
//! application and the clock. After every step everything that the stack sent is checked, and
//! every byte that it delivered. At the end the peer falls silent, the application closes, and
//! when the last timer has fired nothing may be left.

mod app;
mod check;
mod world;

pub mod channel;

use crate::input::Input;
use world::World;

/// Steps of one input.
const STEPS_MAX: usize = 200;

/// A program against a stack that does all of TCP.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    input.steps(STEPS_MAX, |input| {
        world.step(input);
        world.poll();
    });
    world.end();
}
