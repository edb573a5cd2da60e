//! The firmware behind its ports: clients on the wire, a host on every queue.
//!
//! The input is a program of what both do and of time that passes. Both know the protocol, so
//! that connections stand, and both send what nobody should: segments and messages whose fields
//! lie near something that matters, or anywhere. Whatever the firmware sends is checked: frames
//! for the wire are well formed, messages for the host say nothing that contradicts what was
//! said before. At the end the clients are silent and the host starts anew; nothing may be left.

mod check;
mod host;
mod world;

use crate::input::Input;
use world::World;

/// Steps of one input.
const STEPS_MAX: usize = 200;

/// A program against one firmware.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    input.steps(STEPS_MAX, |input| {
        world.step(input);
        world.round();
    });
    world.end();
}
