//! Which key a client's first request is about, seen without executing anything.
//!
//! A hint for steering: a connection goes where others with the same key have gone. The number is
//! Redis Cluster's hash slot, so that clients' hash tags (`{user1}.name`) work as they know them.
//! Where no key can be told for sure there is none; nothing may depend on it but speed.
//!
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, "Key
//! distribution model".

use super::inline::{self, WordSink};
use super::request::{ArgRange, ArgSink, Limits, ParseState, Parsed};

/// Hash slots of Redis Cluster.
pub const SLOTS: u16 = 16_384;
/// Longest key that is looked at, in bytes.
const KEY_LEN_MAX: usize = 512;
/// Longest name in [`COMMANDS`].
const NAME_LEN_MAX: usize = 20;

/// The commands whose first argument is a key, in order. A test of the server compares them with
/// its table of commands.
#[rustfmt::skip]
pub const COMMANDS: &[&str] = &[
    "append", "bitcount", "bitpos", "blmove", "blpop", "brpop", "brpoplpush", "bzpopmax",
    "bzpopmin", "copy", "decr", "decrby", "del", "exists", "expire", "expireat", "expiretime",
    "get", "getbit", "getdel", "getex", "getrange", "getset", "hdel", "hexists", "hget", "hgetall",
    "hincrby", "hincrbyfloat", "hkeys", "hlen", "hmget", "hmset", "hrandfield", "hscan", "hset",
    "hsetnx", "hstrlen", "hvals", "incr", "incrby", "incrbyfloat", "lcs", "lindex", "linsert",
    "llen", "lmove", "lpop", "lpos", "lpush", "lpushx", "lrange", "lrem", "lset", "ltrim", "mget",
    "move", "mset", "msetnx", "persist", "pexpire", "pexpireat", "pexpiretime", "psetex", "pttl",
    "rename", "renamenx", "rpop", "rpoplpush", "rpush", "rpushx", "sadd", "scard", "sdiff",
    "sdiffstore", "set", "setbit", "setex", "setnx", "setrange", "sinter", "sinterstore",
    "sismember", "smembers", "smismember", "smove", "spop", "srandmember", "srem", "sscan",
    "strlen", "substr", "sunion", "sunionstore", "touch", "ttl", "type", "unlink", "watch", "zadd",
    "zcard", "zcount", "zdiffstore", "zincrby", "zinterstore", "zlexcount", "zmscore", "zpopmax",
    "zpopmin", "zrandmember", "zrange", "zrangebylex", "zrangebyscore", "zrangestore", "zrank",
    "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore", "zrevrange", "zrevrangebylex",
    "zrevrangebyscore", "zrevrank", "zscan", "zscore", "zunionstore",
];

/// The hash slot of the key of the first request in `bytes`, which begin a connection.
///
/// `None`: the request is not there up to the end of its key, its command is none of [`COMMANDS`],
/// or it is malformed in front of the key. Never panics, whatever the bytes.
pub fn first_key_slot(bytes: &[u8]) -> Option<u16> {
    let mut found = Ranges::default();
    let parsed = ParseState::default().parse(bytes, &Limits::default(), &mut found);
    if let Ok(Parsed::Inline { line, .. }) = parsed {
        let mut words = Words::default();
        inline::split(&bytes[..line], &mut words).ok()?;
        return slot_of(words.name()?, words.key()?);
    }
    // Whatever comes behind the key: it is there already.
    let [Some(name), Some(key)] = found.0 else { return None };
    let at = |range: ArgRange| bytes.get(range.start as usize..range.end as usize);
    slot_of(at(name)?, at(key)?)
}

fn slot_of(name: &[u8], key: &[u8]) -> Option<u16> {
    if name.len() > NAME_LEN_MAX || key.len() > KEY_LEN_MAX {
        return None;
    }
    let mut folded = [0; NAME_LEN_MAX];
    let folded = &mut folded[..name.len()];
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    COMMANDS.binary_search_by(|command| command.as_bytes().cmp(folded)).ok()?;
    Some(key_slot(key))
}

/// The hash slot of a key: CRC16 of its hash tag, or of all of it, modulo [`SLOTS`].
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

/// What stands between the first `{` and the first `}` behind it, if anything does.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|&byte| byte == b'{')?;
    let behind = &key[open + 1..];
    let close = behind.iter().position(|&byte| byte == b'}')?;
    (close > 0).then(|| &behind[..close])
}

/// CRC-16/XMODEM: polynomial 0x1021, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = crc16_table();
    bytes.iter().fold(0, |crc, &byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

/// The first two arguments.
#[derive(Default)]
struct Ranges([Option<ArgRange>; 2]);

impl ArgSink for Ranges {
    fn push(&mut self, range: ArgRange) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some(range);
        }
    }
}

/// The first two words of a line, as far as they have room.
struct Words {
    bytes: [u8; NAME_LEN_MAX + KEY_LEN_MAX],
    len: usize,
    /// Where each ended, or `None` while it has not.
    ends: [Option<usize>; 2],
}

impl Default for Words {
    fn default() -> Self {
        Self { bytes: [0; NAME_LEN_MAX + KEY_LEN_MAX], len: 0, ends: [None; 2] }
    }
}

impl Words {
    fn name(&self) -> Option<&[u8]> {
        self.bytes.get(..self.ends[0]?)
    }
    fn key(&self) -> Option<&[u8]> {
        self.bytes.get(self.ends[0]?..self.ends[1]?)
    }
}

impl WordSink for Words {
    fn byte(&mut self, byte: u8) {
        if self.ends[1].is_some() {
            return;
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        // Counts on, so that what had no room is not taken for the whole word.
        self.len += 1;
    }
    fn end_word(&mut self) {
        if let Some(end) = self.ends.iter_mut().find(|end| end.is_none()) {
            *end = Some(self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn slots_as_redis_cluster_has_them() {
        // The specification's check value, and what CLUSTER KEYSLOT answers.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!((key_slot(b""), key_slot(b"foo"), key_slot(b"bar")), (0, 12_182, 5061));
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"{user1000}.followers"));
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"user1000"));
        assert_eq!(key_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(key_slot(b"foo{{bar}}zap"), key_slot(b"{bar"));
        assert_eq!(key_slot(b"foo{bar}{zap}"), key_slot(b"bar"));
        assert_eq!(key_slot(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn commands_are_in_order_and_fit() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(COMMANDS.iter().all(|name| name.len() <= NAME_LEN_MAX && *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn the_key_is_found_in_both_forms() {
        let foo = Some(key_slot(b"foo"));
        for request in [
            &b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n"[..],
            b"*2\r\n$3\r\ngEt\r\n$3\r\nfoo\r\n*1\r\n$4\r\nPING\r\n",
            b"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$100000\r\nthe start of a value",
            b"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n",
            b"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\nwrong",
            b"GET foo\r\n",
            b"  set 'foo' \"bar\"\n",
            b"set f\"oo\" x",
        ] {
            let wanted = if request.ends_with(b" x") { None } else { foo };
            assert_eq!(first_key_slot(request), wanted, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn without_a_key_there_is_no_slot() {
        let long = [b'k'; KEY_LEN_MAX + 1];
        let long_inline = [&b"get "[..], &long, b"\r\n"].concat();
        let long_bulk =
            [format!("*2\r\n$3\r\nget\r\n${}\r\n", long.len()).as_bytes(), &long, b"\r\n"].concat();
        for request in [
            &b""[..],
            b"*",
            b"*1\r\n$4\r\nPING\r\n",
            b"*1\r\n$3\r\nGET\r\n",
            b"*0\r\n*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n",
            b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n",
            b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n",
            b"*2\r\n$3\r\nGETfoo",
            b"*-1\r\n",
            b"*2\r\n$-1\r\n",
            b"*2\r\n$3\r\nGET\r\n$99999999999\r\n",
            b"GET\r\n",
            b"GET foo",
            b"get \"foo\r\n",
            b"\r\n",
            &long_inline,
            &long_bulk,
        ] {
            assert_eq!(first_key_slot(request), None, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn cut_anywhere_it_is_found_or_not() {
        let request = b"*3\r\n$4\r\nHSET\r\n$5\r\n{a}bc\r\n$1\r\nf\r\n";
        let found: Vec<Option<u16>> =
            (0..=request.len()).map(|len| first_key_slot(&request[..len])).collect();
        let key_end = request.len() - b"$1\r\nf\r\n".len();
        assert!(found[..key_end].iter().all(Option::is_none));
        assert!(found[key_end..].iter().all(|slot| *slot == Some(key_slot(b"a"))));
    }
}
