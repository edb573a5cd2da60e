//! Odd clients that know of each other: one that asks alone, or the actors of a play.

use netcore::Instant;
use netcore::rng::SeededRng;

use super::play::{Play, Words};
use super::solo::{Exchange, Solo};
use super::speaker::{Ending, Expected, Speaker};

/// What a group does.
pub(super) enum Part {
    /// One asks alone, on so many connections one after the other.
    Solo(Solo, u64),
    /// Several act together.
    Play(Play),
}

/// The group.
pub(super) struct Group {
    pub(super) part: Part,
    /// By the number of the actor.
    pub(super) speakers: Vec<Speaker>,
    pub(super) rng: SeededRng,
    /// When its connections are to be opened; `None`: they are.
    pub(super) open_at: Option<Instant>,
    pub(super) done: bool,
    /// A connection was lost: nothing more can be foretold.
    pub(super) broken: bool,
}

impl Group {
    pub(super) fn new(part: Part, rng: SeededRng) -> Self {
        let open_at = Some(Instant::ZERO);
        Self { part, speakers: Vec::new(), rng, open_at, done: false, broken: false }
    }

    /// How each of its connections will end.
    pub(super) fn endings(&mut self) -> Vec<Ending> {
        let (count, leaves_waiting) = match &self.part {
            Part::Solo(..) => (1, None),
            Part::Play(play) => (play.actors, play.leaves_waiting),
        };
        let rng = &mut self.rng;
        let mut endings: Vec<Ending> = (0..count)
            .map(|_| match rng.below(20) {
                0..5 => Ending::Close,
                5..10 => Ending::HalfClose,
                10..15 => Ending::Quit,
                15..18 => Ending::Abort,
                _ => Ending::AbortEarly,
            })
            .collect();
        if let Some(actor) = leaves_waiting {
            endings[actor] = [Ending::Close, Ending::Abort][rng.below(2) as usize];
        }
        endings
    }

    /// Says what is next, if it is time for it; true when something was said.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        if self.broken || !self.speakers.iter().all(Speaker::is_satisfied) {
            return false;
        }
        match &mut self.part {
            Part::Solo(solo, _) => {
                let speaker = &mut self.speakers[0];
                if speaker.is_last() {
                    return false;
                }
                if let Some(Exchange { words, replies }) = solo.next() {
                    speaker.say(&words, vec![Expected::Bytes(replies)], now);
                }
                if solo.is_over() {
                    speaker.end(now);
                }
                true
            }
            Part::Play(play) => act(play, &mut self.speakers, now),
        }
    }

    /// All its connections have ended: new ones, or it is done.
    pub(super) fn connections_ended(&mut self, now: Instant) {
        match &mut self.part {
            Part::Solo(solo, more) if *more > 0 && !self.broken => {
                *more -= 1;
                solo.again();
                self.open_at = Some(now);
            }
            Part::Solo(..) | Part::Play(_) => self.done = true,
        }
    }
}

/// The next act, or the end.
fn act(play: &mut Play, speakers: &mut [Speaker], now: Instant) -> bool {
    // Somebody is being closed: nothing else until it is.
    if speakers
        .iter()
        .any(|speaker| speaker.awaits_close && speaker.tcp.end().is_none() && !speaker.is_last())
    {
        return false;
    }
    let Some(act) = play.acts.pop_front() else {
        let last = speakers.iter().all(Speaker::is_last);
        speakers.iter_mut().for_each(|speaker| speaker.end(now));
        return !last;
    };
    for (actor, expected) in act.heard {
        speakers[actor].expect(vec![expected]);
    }
    let words = match act.words {
        Words::Bytes(words) => words,
        Words::KillClient(victim) => {
            let number = speakers[victim].number.unwrap_or(0);
            let mut said = Exchange::default();
            said.command(&[b"CLIENT", b"KILL", b"ID", number.to_string().as_bytes()]);
            said.words
        }
    };
    if let Some(victim) = act.closes {
        speakers[victim].awaits_close = true;
    }
    speakers[act.actor].say(&words, Vec::new(), now);
    true
}
