//! Random commands on lists, hashes, sets and sorted sets, to Mayfly and to a real Redis.
//!
//! A seed makes a run; it is printed when replies differ. Without `redis-server` on the PATH the
//! test has nothing to compare with and says so.

mod support;

use netcore::rng::SeededRng;
use support::Server;
use support::redis::Redis;

/// How far two replies must agree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Exact,
    /// The lines in any order: for commands whose order Redis leaves open.
    AnyOrder,
    /// The first line only: for random choices.
    Count,
}
use Compare::{AnyOrder, Count, Exact};

/// Draws the words of commands: in a pattern, capital letters and a few words stand for random
/// arguments (see [`Generator::word`]), a small letter for a key, and the rest for itself.
struct Generator {
    rng: SeededRng,
    /// Different members; more of them make larger collections.
    members: u64,
}

impl Generator {
    fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.below(from.len() as u64) as usize]
    }
    fn member(&mut self) -> String {
        let number = self.rng.below(self.members);
        match number % 7 {
            0 => format!("{number}"),
            1 => format!("-{number}"),
            _ => format!("m{number}"),
        }
    }
    fn score(&mut self) -> String {
        match self.rng.below(12) {
            0 => self.one_of(&["inf", "-inf", "+inf", "0", "-0", "1e3", "x", "nan"]).to_string(),
            1..=4 => format!("{}.{}", self.rng.below(20), self.rng.below(100)),
            _ => format!("{}", self.rng.below(40) as i64 - 10),
        }
    }
    fn word(&mut self, pattern: &str) -> Vec<String> {
        let one = |word: String| vec![word];
        match pattern {
            "M" => one(self.member()),
            "MM" => (0..=self.rng.below(4)).map(|_| self.member()).collect(),
            "FV" => (0..=self.rng.below(3)).flat_map(|_| [self.member(), self.member()]).collect(),
            "SM" => (0..=self.rng.below(3)).flat_map(|_| [self.score(), self.member()]).collect(),
            "S" => one(self.score()),
            "B" => {
                let open = self.one_of(&["", "", "("]);
                one(format!("{open}{}", self.score()))
            }
            "N" => {
                let open = self.one_of(&["[", "("]);
                let name = format!("{open}{}", self.member());
                one(if self.rng.below(4) == 0 { self.one_of(&["-", "+", "bad"]).into() } else { name })
            }
            "I" => one(format!("{}", self.rng.below(30) as i64 - 15)),
            "C" => one(format!("{}", self.rng.below(5))),
            "E" => one(self.one_of(&["LEFT", "RIGHT"]).into()),
            "LIMIT?" if self.rng.below(3) == 0 => {
                vec![
                    "LIMIT".into(),
                    format!("{}", self.rng.below(6) as i64 - 1),
                    format!("{}", self.rng.below(8) as i64 - 1),
                ]
            }
            "SCORES?" if self.rng.below(2) == 0 => one("WITHSCORES".into()),
            "REV?" if self.rng.below(2) == 0 => one("REV".into()),
            "AGG?" if self.rng.below(2) == 0 => {
                vec!["AGGREGATE".into(), self.one_of(&["SUM", "MIN", "MAX"]).into()]
            }
            "W?" if self.rng.below(2) == 0 => {
                vec!["WEIGHTS".into(), self.one_of(&["1", "-2", "0.5", "inf"]).into(), "3".into()]
            }
            "ADD?" => {
                let options = ["NX", "XX", "GT", "LT", "CH"];
                (0..self.rng.below(3)).map(|_| self.one_of(&options).to_string()).collect()
            }
            pattern if pattern.ends_with('?') => vec![],
            // A key of the type, z0 to z2; now and then one of another type.
            kind @ ("l" | "h" | "s" | "z") => {
                if self.rng.below(25) == 0 {
                    return one(self.one_of(&["l0", "h0", "s0", "z0", "none"]).into());
                }
                one(format!("{kind}{}", self.rng.below(3)))
            }
            word => one(word.into()),
        }
    }
    fn command(&mut self, table: &[(&str, Compare)]) -> (Vec<String>, Compare) {
        let (pattern, compare) = table[self.rng.below(table.len() as u64) as usize];
        (pattern.split(' ').flat_map(|word| self.word(word)).collect(), compare)
    }
}

const LISTS: &[(&str, Compare)] = &[
    ("LPUSH l MM", Exact),
    ("RPUSH l MM", Exact),
    ("LPUSHX l M", Exact),
    ("LPOP l", Exact),
    ("RPOP l C", Exact),
    ("LLEN l", Exact),
    ("LINDEX l I", Exact),
    ("LINSERT l BEFORE M M", Exact),
    ("LINSERT l AFTER M M", Exact),
    ("LSET l I M", Exact),
    ("LRANGE l I I", Exact),
    ("LRANGE l 0 -1", Exact),
    ("LREM l I M", Exact),
    ("LTRIM l C -1", Exact),
    ("LPOS l M RANK I", Exact),
    ("LPOS l M COUNT C MAXLEN C", Exact),
    ("LMOVE l l E E", Exact),
    ("RPOPLPUSH l l", Exact),
    ("LMPOP 2 l l E COUNT C", Exact),
    ("DEL l", Exact),
];

const HASHES: &[(&str, Compare)] = &[
    ("HSET h FV", Exact),
    ("HMSET h FV", Exact),
    ("HSETNX h M M", Exact),
    ("HGET h M", Exact),
    ("HMGET h MM", Exact),
    ("HGETALL h", AnyOrder),
    ("HKEYS h", AnyOrder),
    ("HVALS h", AnyOrder),
    ("HDEL h MM", Exact),
    ("HLEN h", Exact),
    ("HEXISTS h M", Exact),
    ("HSTRLEN h M", Exact),
    ("HINCRBY h M I", Exact),
    ("HRANDFIELD h -3", Count),
    ("HRANDFIELD h C", Count),
    ("HRANDFIELD h 100000 WITHVALUES", AnyOrder),
    ("HSCAN h 0 COUNT 100000", AnyOrder),
    ("OBJECT ENCODING h1", Exact),
];

const SETS: &[(&str, Compare)] = &[
    ("SADD s MM", Exact),
    ("SADD s C I C", Exact),
    ("SREM s MM", Exact),
    ("SMEMBERS s", AnyOrder),
    ("SCARD s", Exact),
    ("SISMEMBER s M", Exact),
    ("SMISMEMBER s MM", Exact),
    ("SMOVE s s M", Exact),
    ("SRANDMEMBER s C", Count),
    ("SRANDMEMBER s -4", Count),
    ("SRANDMEMBER s 100000", AnyOrder),
    ("SINTER s s", AnyOrder),
    ("SUNION s s s", AnyOrder),
    ("SDIFF s s s", AnyOrder),
    ("SINTERSTORE s s s", Exact),
    ("SUNIONSTORE s s s", Exact),
    ("SDIFFSTORE s s s", Exact),
    ("SINTERCARD 2 s s LIMIT C", Exact),
    ("SSCAN s 0 COUNT 100000", AnyOrder),
    ("SPOP s 100000", AnyOrder),
];

const ZSETS: &[(&str, Compare)] = &[
    ("ZADD z SM", Exact),
    ("ZADD z SM", Exact),
    ("ZADD z ADD? SM", Exact),
    ("ZADD z ADD? INCR S M", Exact),
    ("ZINCRBY z S M", Exact),
    ("ZREM z MM", Exact),
    ("ZSCORE z M", Exact),
    ("ZMSCORE z MM", Exact),
    ("ZCARD z", Exact),
    ("ZCOUNT z B B", Exact),
    ("ZRANK z M", Exact),
    ("ZREVRANK z M", Exact),
    ("ZRANGE z I I REV? SCORES?", Exact),
    ("ZRANGE z B B BYSCORE REV? LIMIT? SCORES?", Exact),
    ("ZRANGE z 0 -1 WITHSCORES", Exact),
    ("ZREVRANGE z I I SCORES?", Exact),
    ("ZRANGEBYSCORE z B B LIMIT? SCORES?", Exact),
    ("ZREVRANGEBYSCORE z B B SCORES? LIMIT?", Exact),
    ("ZRANGESTORE z z I I REV?", Exact),
    ("ZRANGESTORE z z B B BYSCORE LIMIT?", Exact),
    ("ZREMRANGEBYRANK z I C", Exact),
    ("ZREMRANGEBYSCORE z B B", Exact),
    ("ZPOPMIN z", Exact),
    ("ZPOPMAX z C", Exact),
    ("ZMPOP 2 z z MIN COUNT C", Exact),
    ("ZRANDMEMBER z C SCORES?", Count),
    ("ZRANDMEMBER z -3", Count),
    ("ZRANDMEMBER z 100000 WITHSCORES", AnyOrder),
    ("ZUNION 2 z z W? AGG? SCORES?", Exact),
    ("ZINTER 2 z s W? AGG? SCORES?", Exact),
    ("ZDIFF 2 z z SCORES?", Exact),
    ("ZUNIONSTORE z 2 z s W? AGG?", Exact),
    ("ZINTERSTORE z 2 z z W? AGG?", Exact),
    ("ZDIFFSTORE z 2 z z", Exact),
    ("ZINTERCARD 2 z z LIMIT C", Exact),
    ("ZSCAN z 0 COUNT 100000", AnyOrder),
    ("OBJECT ENCODING z1", Exact),
    ("SADD s M", Exact),
];

/// All scores are equal, as ranges of names want it.
const NAMES: &[(&str, Compare)] = &[
    ("ZADD z 0 M 0 M", Exact),
    ("ZREM z M", Exact),
    ("ZLEXCOUNT z N N", Exact),
    ("ZRANGEBYLEX z N N LIMIT?", Exact),
    ("ZREVRANGEBYLEX z N N LIMIT?", Exact),
    ("ZRANGE z N N BYLEX REV? LIMIT?", Exact),
    ("ZREMRANGEBYLEX z N N", Exact),
    ("ZRANGESTORE z z N N BYLEX LIMIT?", Exact),
];

fn agree(compare: Compare, ours: &[u8], theirs: &[u8]) -> bool {
    let lines = |reply: &[u8]| reply.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let sorted = |reply: &[u8]| {
        let mut lines = lines(reply);
        lines.sort_unstable();
        lines
    };
    match compare {
        Exact => ours == theirs,
        AnyOrder => sorted(ours) == sorted(theirs),
        Count => lines(ours)[0] == lines(theirs)[0] || ours.first() == Some(&b'$'),
    }
}

#[test]
fn random_commands_get_the_replies_of_redis() {
    let Some(mut redis) = Redis::start() else {
        println!("redis-server is not on the PATH: nothing to compare with");
        return;
    };
    let server = Server::start();
    for (table, name) in
        [(LISTS, "lists"), (HASHES, "hashes"), (SETS, "sets"), (ZSETS, "zsets"), (NAMES, "names")]
    {
        for (seed, members, steps) in [(1, 8, 1500), (2, 40, 1500), (3, 1200, 4000)] {
            let version: &[u8] = if seed % 2 == 1 { b"3" } else { b"2" };
            let (mut ours, mut theirs) = (server.client(), redis.client());
            for setup in [&[&b"HELLO"[..], version][..], &[b"FLUSHALL"]] {
                ours.call(setup);
                theirs.call(setup);
            }
            let mut generator = Generator { rng: SeededRng::new(seed), members };
            let mut log = Vec::new();
            for _ in 0..steps {
                let (words, compare) = generator.command(table);
                log.push(words.join(" "));
                let args: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                let (got, wanted) = (ours.call(&args), theirs.call(&args));
                assert!(
                    agree(compare, &got, &wanted),
                    "{name}, seed {seed}, after\n  {}\nredis:  {}\nmayfly: {}",
                    log[log.len().saturating_sub(20)..].join("\n  "),
                    wanted.escape_ascii(),
                    got.escape_ascii()
                );
            }
        }
    }
}
