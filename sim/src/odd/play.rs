//! What several clients do together: each act waits for the one before, so that every reply is
//! known, wherever it goes. Clients that block, subscribe, watch, or get rid of each other, on
//! whichever cores they happen to be.

use std::collections::VecDeque;

use netcore::rng::SeededRng;

use super::solo::{Exchange, bulk};
use super::speaker::Expected;

/// Something that one of the actors says.
#[derive(Debug)]
pub(super) struct Act {
    /// Which of the actors.
    pub(super) actor: usize,
    pub(super) words: Words,
    /// Who must hear what for it.
    pub(super) heard: Vec<(usize, Expected)>,
    /// Whom the server closes for it.
    pub(super) closes: Option<usize>,
}

/// What is said.
#[derive(Debug)]
pub(super) enum Words {
    /// These bytes.
    Bytes(Vec<u8>),
    /// `CLIENT KILL ID` with the number that this actor has been told.
    KillClient(usize),
}

/// The acts of a play.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) actors: usize,
    pub(super) acts: VecDeque<Act>,
    /// The one that leaves while it waits for a key: it cannot say QUIT.
    pub(super) leaves_waiting: Option<usize>,
}

/// A multi-bulk reply of these.
fn array(items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| bulk(&mut bytes, item));
    bytes
}

fn integer(number: usize) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

/// What a subscriber hears: a kind of event, a name, and a count or a message.
fn event(kind: &[u8], name: &[u8], last: &[u8]) -> Vec<u8> {
    let mut bytes = b"*3\r\n".to_vec();
    bulk(&mut bytes, kind);
    bulk(&mut bytes, name);
    bytes.extend_from_slice(last);
    bytes
}

impl Play {
    /// `name`: in front of all its keys and channels; nobody else has it.
    pub(super) fn draw(rng: &mut SeededRng, name: &str) -> Self {
        let mut play = Self { actors: 3, acts: VecDeque::new(), leaves_waiting: None };
        for round in 0..1 + rng.below(4) {
            let key = format!("{name}:{round}").into_bytes();
            match rng.below(7) {
                0 => play.queue(rng, &key),
                1 => play.crowd(rng, &key),
                2 => play.moved(rng, &key),
                3 | 4 => play.subscribers(rng, &key),
                5 => play.watched(rng, &key),
                _ => play.patience(rng, &key),
            }
        }
        if rng.chance(400_000) {
            play.killed(rng, name.as_bytes());
        }
        if rng.chance(300_000) {
            play.act(0, &[b"BLPOP", name.as_bytes(), b"0"], Vec::new());
            play.leaves_waiting = Some(0);
        }
        play
    }

    fn act(&mut self, actor: usize, args: &[&[u8]], heard: Vec<(usize, Vec<u8>)>) {
        let mut said = Exchange::default();
        said.command(args);
        self.say(actor, said.words, heard);
    }

    fn say(&mut self, actor: usize, words: Vec<u8>, heard: Vec<(usize, Vec<u8>)>) {
        let heard = heard.into_iter().map(|(who, bytes)| (who, Expected::Bytes(bytes))).collect();
        self.acts.push_back(Act { actor, words: Words::Bytes(words), heard, closes: None });
    }

    /// One waits for several elements, and has more to say behind; another pushes them.
    fn queue(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let count = 1 + rng.below(4) as usize;
        let (take, push) = [(b"BLPOP", b"RPUSH"), (b"BRPOP", b"LPUSH")][rng.below(2) as usize];
        let items: Vec<Vec<u8>> = (0..count).map(|_| value(rng, 3_000)).collect();
        let mut waits = Exchange::default();
        for _ in 0..count {
            waits.command(&[take, key, b"0"]);
        }
        waits.words.extend_from_slice(b"PING\r\n");
        self.say(0, waits.words, Vec::new());
        let mut args: Vec<&[u8]> = vec![push, key];
        args.extend(items.iter().map(Vec::as_slice));
        let mut heard: Vec<_> = items.iter().map(|item| (0, array(&[key, item]))).collect();
        heard.push((0, b"+PONG\r\n".to_vec()));
        heard.push((1, integer(count)));
        self.act(1, &args, heard);
    }

    /// Two wait for two keys each, and each key gets one element.
    fn crowd(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let other = [key, b"'"].concat();
        self.act(0, &[b"BLPOP", key, b"1000"], Vec::new());
        self.act(2, &[b"BRPOP", &other, b"0"], Vec::new());
        let (one, two) = (value(rng, 10_000), value(rng, 100));
        self.act(1, &[b"RPUSH", &other, &two], vec![(1, integer(1)), (2, array(&[&other, &two]))]);
        self.act(1, &[b"LPUSH", key, &one], vec![(1, integer(1)), (0, array(&[key, &one]))]);
        self.act(2, &[b"EXISTS", key, &other], vec![(2, integer(0))]);
    }

    /// An element goes through a client that waits into a list.
    fn moved(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let to = [key, b">"].concat();
        let item = value(rng, 500);
        let mut reply = Vec::new();
        bulk(&mut reply, &item);
        self.act(2, &[b"BLMOVE", key, &to, b"LEFT", b"RIGHT", b"0"], Vec::new());
        self.act(0, &[b"RPUSH", key, &item], vec![(0, integer(1)), (2, reply)]);
        self.act(1, &[b"LRANGE", &to, b"0", b"-1"], vec![(1, array(&[&item]))]);
    }

    /// Two subscribe, one publishes, and all go on as before.
    fn subscribers(&mut self, rng: &mut SeededRng, channel: &[u8]) {
        let pattern = [channel, b"*"].concat();
        self.act(0, &[b"SUBSCRIBE", channel], vec![(0, event(b"subscribe", channel, b":1\r\n"))]);
        self.act(2, &[b"PSUBSCRIBE", &pattern], vec![(2, event(b"psubscribe", &pattern, b":1\r\n"))]);
        let mut said = Exchange::default();
        let mut heard = Vec::new();
        for _ in 0..1 + rng.below(12) {
            let message = value(rng, 4_000);
            said.command(&[b"PUBLISH", channel, &message]);
            heard.push((1, integer(2)));
            let mut body = Vec::new();
            bulk(&mut body, &message);
            heard.push((0, event(b"message", channel, &body)));
            let mut matched = b"*4\r\n".to_vec();
            for part in [b"pmessage", &pattern[..], channel, &message] {
                bulk(&mut matched, part);
            }
            heard.push((2, matched));
        }
        self.say(1, said.words, heard);
        self.act(0, &[b"UNSUBSCRIBE"], vec![(0, event(b"unsubscribe", channel, b":0\r\n"))]);
        self.act(2, &[b"PUNSUBSCRIBE"], vec![(2, event(b"punsubscribe", &pattern, b":0\r\n"))]);
        self.act(1, &[b"PUBLISH", channel, b"nobody"], vec![(1, integer(0))]);
        self.act(0, &[b"EXISTS", channel], vec![(0, integer(0))]);
    }

    /// A transaction whose key somebody else has changed meanwhile, or not.
    fn watched(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let ok = b"+OK\r\n".to_vec();
        self.act(0, &[b"WATCH", key], vec![(0, ok.clone())]);
        let changed = rng.chance(500_000);
        if changed {
            self.act(1, &[b"SET", key, b"theirs"], vec![(1, ok.clone())]);
        }
        let mut said = Exchange::default();
        said.command(&[b"MULTI"]);
        said.command(&[b"SET", key, b"mine"]);
        said.command(&[b"EXEC"]);
        let end = if changed { b"*-1\r\n".to_vec() } else { b"*1\r\n+OK\r\n".to_vec() };
        self.say(0, said.words, vec![(0, ok), (0, b"+QUEUED\r\n".to_vec()), (0, end)]);
        let mut held = Vec::new();
        bulk(&mut held, if changed { b"theirs" } else { b"mine" });
        self.act(2, &[b"GET", key], vec![(2, held)]);
    }

    /// One waits in vain.
    fn patience(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let seconds = ["0.01", "0.3", "2"][rng.below(3) as usize];
        self.act(1, &[b"BLPOP", key, seconds.as_bytes()], vec![(1, b"*-1\r\n".to_vec())]);
    }

    /// One gets rid of another, which waits, listens or does nothing.
    fn killed(&mut self, rng: &mut SeededRng, key: &[u8]) {
        let mut said = Exchange::default();
        said.command(&[b"CLIENT", b"ID"]);
        let heard = vec![(2, Expected::Integer)];
        self.acts.push_back(Act { actor: 2, words: Words::Bytes(said.words), heard, closes: None });
        match rng.below(3) {
            0 => self.act(2, &[b"SUBSCRIBE", key], vec![(2, event(b"subscribe", key, b":1\r\n"))]),
            1 => {
                self.act(2, &[b"WATCH", key], vec![(2, b"+OK\r\n".to_vec())]);
                self.act(2, &[b"BLPOP", key, b"0"], Vec::new());
            }
            _ => {}
        }
        let heard = vec![(1, Expected::Bytes(integer(1)))];
        self.acts.push_back(Act { actor: 1, words: Words::KillClient(2), heard, closes: Some(2) });
    }
}

fn value(rng: &mut SeededRng, len_max: u64) -> Vec<u8> {
    (0..rng.below(len_max)).map(|_| rng.next_u64() as u8).collect()
}
