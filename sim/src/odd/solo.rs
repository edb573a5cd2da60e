//! What a client says alone: commands on keys of its own, whose replies a plain model foretells
//! byte by byte.

use std::collections::{BTreeMap, VecDeque};

use netcore::rng::SeededRng;

/// A client's own part of the keyspace, and what it still wants to say.
pub(super) struct Solo {
    rng: SeededRng,
    /// In front of all its keys.
    name: String,
    batches_left: u64,
    pipeline_max: u64,
    /// About so many more in all, so that a seed takes milliseconds.
    bytes_left: usize,
    value_max: u64,
    strings: BTreeMap<String, Vec<u8>>,
    lists: BTreeMap<String, VecDeque<Vec<u8>>>,
    counter: i64,
}

/// Requests and the replies that they must get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) words: Vec<u8>,
    pub(super) replies: Vec<u8>,
}

impl Exchange {
    pub(super) fn command(&mut self, args: &[&[u8]]) {
        self.words.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
        args.iter().for_each(|arg| bulk(&mut self.words, arg));
    }
    fn line(&mut self, line: &str) {
        self.replies.extend_from_slice(line.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }
    fn integer(&mut self, number: impl std::fmt::Display) {
        self.line(&format!(":{number}"));
    }
    fn value(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => bulk(&mut self.replies, value),
            None => self.line("$-1"),
        }
    }
}

pub(super) fn bulk(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    into.extend_from_slice(bytes);
    into.extend_from_slice(b"\r\n");
}

impl Solo {
    /// `name`: nobody else has it.
    pub(super) fn draw(mut rng: SeededRng, name: String) -> Self {
        let pick = |rng: &mut SeededRng, of: &[u64]| of[rng.below(of.len() as u64) as usize];
        Self {
            batches_left: rng.below(6),
            pipeline_max: pick(&mut rng, &[1, 1, 4, 30]),
            bytes_left: 150_000,
            value_max: pick(&mut rng, &[10, 100, 1_000, 5_000, 40_000]),
            rng,
            name,
            strings: BTreeMap::new(),
            lists: BTreeMap::new(),
            counter: 0,
        }
    }

    /// The next requests, pipelined; `None`: there are no more.
    pub(super) fn next(&mut self) -> Option<Exchange> {
        self.batches_left = self.batches_left.checked_sub(1)?;
        let mut exchange = Exchange::default();
        let mut left = 1 + self.rng.below(self.pipeline_max);
        while left > 0 && exchange.words.len() + exchange.replies.len() < self.bytes_left {
            left -= 1;
            if self.rng.chance(100_000) {
                self.transaction(&mut exchange);
            } else {
                self.request(&mut exchange);
            }
        }
        self.bytes_left = self.bytes_left.saturating_sub(exchange.words.len() + exchange.replies.len());
        if self.bytes_left == 0 {
            self.batches_left = 0;
        }
        Some(exchange)
    }

    /// True when there are no more.
    pub(super) fn is_over(&self) -> bool {
        self.batches_left == 0
    }

    /// More batches for a further connection.
    pub(super) fn again(&mut self) {
        self.batches_left = 1 + self.rng.below(4);
        self.bytes_left = 50_000;
    }

    fn transaction(&mut self, exchange: &mut Exchange) {
        exchange.command(&[b"MULTI"]);
        exchange.line("+OK");
        let mut inner = Exchange::default();
        let count = self.rng.below(5);
        for _ in 0..count {
            self.keyed_request(&mut inner);
            exchange.line("+QUEUED");
        }
        exchange.words.append(&mut inner.words);
        exchange.command(&[b"EXEC"]);
        exchange.line(&format!("*{count}"));
        exchange.replies.append(&mut inner.replies);
    }

    fn request(&mut self, exchange: &mut Exchange) {
        match self.rng.below(12) {
            0 => {
                exchange.words.extend_from_slice(b"PING\r\n");
                exchange.line("+PONG");
            }
            1 => {
                let value = self.bytes();
                exchange.command(&[b"ECHO", &value]);
                exchange.value(Some(&value));
            }
            2 => {
                exchange.command(&[b"NOSUCHCOMMAND"]);
                exchange.line("-ERR unknown command 'NOSUCHCOMMAND', with args beginning with: ");
            }
            3 => {
                exchange.command(&[b"GET"]);
                exchange.line("-ERR wrong number of arguments for 'get' command");
            }
            _ => self.keyed_request(exchange),
        }
    }

    fn keyed_request(&mut self, exchange: &mut Exchange) {
        if self.rng.chance(300_000) {
            return self.list_request(exchange);
        }
        let key = format!("{}:s{}", self.name, self.rng.below(4));
        let name = key.as_bytes();
        let known = self.strings.get(&key).map(Vec::as_slice);
        match self.rng.below(8) {
            0..2 => {
                let value = self.bytes();
                exchange.command(&[b"SET", name, &value]);
                exchange.line("+OK");
                self.strings.insert(key, value);
            }
            2..5 => {
                exchange.command(&[b"GET", name]);
                exchange.value(known);
            }
            5 if known.is_none_or(|held| held.len() < 50_000) => {
                let value = self.bytes();
                exchange.command(&[b"APPEND", name, &value]);
                let held = self.strings.entry(key).or_default();
                held.extend_from_slice(&value);
                exchange.integer(held.len());
            }
            5 | 6 => {
                exchange.command(&[b"STRLEN", name]);
                exchange.integer(known.map_or(0, <[u8]>::len));
            }
            _ => {
                let step = self.rng.below(1_000) as i64 - 300;
                self.counter += step;
                let key = format!("{}:n", self.name);
                exchange.command(&[b"INCRBY", key.as_bytes(), step.to_string().as_bytes()]);
                exchange.integer(self.counter);
            }
        }
    }

    fn list_request(&mut self, exchange: &mut Exchange) {
        let key = format!("{}:l{}", self.name, self.rng.below(2));
        let name = key.as_bytes();
        let mut value = self.bytes();
        value.truncate(2_000);
        let list = self.lists.entry(key.clone()).or_default();
        match self.rng.below(6) {
            0..2 => {
                exchange.command(&[b"RPUSH", name, &value]);
                list.push_back(value);
                exchange.integer(list.len());
            }
            2 => {
                exchange.command(&[b"LPUSH", name, &value]);
                list.push_front(value);
                exchange.integer(list.len());
            }
            3 => {
                exchange.command(&[b"LPOP", name]);
                let first = list.pop_front();
                exchange.value(first.as_deref());
            }
            4 => {
                // Somebody is there or not; it never waits.
                exchange.command(&[b"LLEN", name]);
                exchange.integer(list.len());
            }
            _ => {
                exchange.command(&[b"LRANGE", name, b"0", b"-1"]);
                exchange.line(&format!("*{}", list.len()));
                list.iter().for_each(|value| bulk(&mut exchange.replies, value));
            }
        }
    }

    /// Any bytes, line ends among them.
    fn bytes(&mut self) -> Vec<u8> {
        let len = self.rng.below(self.value_max + 1) as usize;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.rng.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
