//! Commands on sorted sets.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=sorted-set>

mod algebra;
mod blocking;
mod interval;
mod member;
mod range;
mod take;

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::keyspace::Container;
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.and(Flags::FAST);
const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const STORE_FAST: Flags = STORE.and(Flags::FAST);
const TAKE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const SOURCES: Keys = Keys::Count { at: 1, dest: false };
const SOURCES_AND_DESTINATION: Keys = Keys::Count { at: 2, dest: true };
const BLOCK: Flags = Flags::WRITE.and(Flags::BLOCKING);
const BLOCK_FAST: Flags = BLOCK.and(Flags::FAST);
const POLLED: Keys = Keys::Range { first: 1, last: -2, step: 1 };
const LOG: &str = "O(log(N))";
const LOG_AND_RESULT: &str = "O(log(N)+M) with M members returned";

macro_rules! rows {
    ($($name:literal $arity:literal $flags:ident $keys:expr, $run:path, $since:literal, $cost:expr, $syntax:literal, $summary:literal;)*) => {
        &[$(Command::new($name, $arity, $flags, $keys, $run).doc($since, $cost, $syntax, $summary)),*]
    };
}

/// The group's rows.
pub static COMMANDS: &[Command] = rows! {
    "zadd" -4 STORE_FAST Keys::ONE, member::zadd, "1.2.0", "O(log(N)) for each member",
        "key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]", "Adds members, or changes their scores.";
    "zincrby" 4 STORE_FAST Keys::ONE, member::zincrby, "1.2.0", LOG, "key increment member", "Adds to a member's score.";
    "zrem" -3 TAKE_FAST Keys::ONE, member::zrem, "1.2.0", "O(M*log(N)) with M members removed",
        "key member [member ...]", "Removes members.";
    "bzpopmin" -3 BLOCK_FAST POLLED, blocking::bzpopmin, "5.0.0", LOG, "key [key ...] timeout",
        "Takes the lowest member of the first sorted set that has any, or waits for one.";
    "bzpopmax" -3 BLOCK_FAST POLLED, blocking::bzpopmax, "5.0.0", LOG, "key [key ...] timeout",
        "Takes the highest member of the first sorted set that has any, or waits for one.";
    "bzmpop" -5 BLOCK Keys::Count { at: 2, dest: false }, blocking::bzmpop, "7.0.0", "O(K) + O(M*log(N))",
        "timeout numkeys key [key ...] MIN|MAX [COUNT count]",
        "Takes members of the first sorted set that has any, or waits for one.";
    "zscore" 3 READ_FAST Keys::ONE, member::zscore, "1.2.0", "O(1)", "key member", "The score of a member.";
    "zmscore" -3 READ_FAST Keys::ONE, member::zmscore, "6.2.0", "O(N) with N members",
        "key member [member ...]", "The scores of several members.";
    "zcard" 2 READ_FAST Keys::ONE, member::zcard, "1.2.0", "O(1)", "key", "Number of members.";
    "zrank" -3 READ_FAST Keys::ONE, member::zrank, "2.0.0", LOG, "key member [WITHSCORE]",
        "A member's place, lowest score first.";
    "zrevrank" -3 READ_FAST Keys::ONE, member::zrevrank, "2.0.0", LOG, "key member [WITHSCORE]",
        "A member's place, highest score first.";
    "zcount" 4 READ_FAST Keys::ONE, range::zcount, "2.0.0", LOG, "key min max", "Number of members in a range of scores.";
    "zlexcount" 4 READ_FAST Keys::ONE, range::zlexcount, "2.8.9", LOG, "key min max", "Number of members in a range of names.";
    "zrange" -4 READ Keys::ONE, range::zrange, "1.2.0", LOG_AND_RESULT,
        "key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]", "Members in a range.";
    "zrevrange" -4 READ Keys::ONE, range::zrevrange, "1.2.0", LOG_AND_RESULT, "key start stop [WITHSCORES]",
        "Members in a range of places, highest score first.";
    "zrangebyscore" -4 READ Keys::ONE, range::zrangebyscore, "1.0.5", LOG_AND_RESULT,
        "key min max [WITHSCORES] [LIMIT offset count]", "Members in a range of scores.";
    "zrevrangebyscore" -4 READ Keys::ONE, range::zrevrangebyscore, "2.2.0", LOG_AND_RESULT,
        "key max min [WITHSCORES] [LIMIT offset count]", "Members in a range of scores, highest first.";
    "zrangebylex" -4 READ Keys::ONE, range::zrangebylex, "2.8.9", LOG_AND_RESULT,
        "key min max [LIMIT offset count]", "Members in a range of names.";
    "zrevrangebylex" -4 READ Keys::ONE, range::zrevrangebylex, "2.8.9", LOG_AND_RESULT,
        "key max min [LIMIT offset count]", "Members in a range of names, last first.";
    "zrangestore" -5 STORE Keys::TWO, range::zrangestore, "6.2.0", LOG_AND_RESULT,
        "dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]", "Stores the members in a range.";
    "zremrangebyrank" 4 WRITE Keys::ONE, range::zremrangebyrank, "2.0.0", "O(M*log(N)) with M members removed",
        "key start stop", "Removes members in a range of places.";
    "zremrangebyscore" 4 WRITE Keys::ONE, range::zremrangebyscore, "1.2.0", "O(M*log(N)) with M members removed",
        "key min max", "Removes members in a range of scores.";
    "zremrangebylex" 4 WRITE Keys::ONE, range::zremrangebylex, "2.8.9", "O(M*log(N)) with M members removed",
        "key min max", "Removes members in a range of names.";
    "zpopmin" -2 TAKE_FAST Keys::ONE, take::zpopmin, "5.0.0", "O(M*log(N)) with M members taken",
        "key [count]", "Takes the members with the lowest scores.";
    "zpopmax" -2 TAKE_FAST Keys::ONE, take::zpopmax, "5.0.0", "O(M*log(N)) with M members taken",
        "key [count]", "Takes the members with the highest scores.";
    "zmpop" -4 WRITE SOURCES, take::zmpop, "7.0.0", "O(K)+O(M*log(N)) with K keys and M members taken",
        "numkeys key [key ...] MIN|MAX [COUNT count]", "Takes members from the first sorted set that has any.";
    "zrandmember" -2 READ Keys::ONE, take::zrandmember, "6.2.0", "O(N) with N members returned",
        "key [count [WITHSCORES]]", "Random members.";
    "zscan" -3 READ Keys::ONE, take::zscan, "2.8.0", "O(1) a call",
        "key cursor [MATCH pattern] [COUNT count]", "Walks over the members in steps.";
    "zunion" -3 READ SOURCES, algebra::zunion, "6.2.0", "O(N)+O(M*log(M)) with N members given and M returned",
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]",
        "Members that any sorted set has.";
    "zunionstore" -4 STORE SOURCES_AND_DESTINATION, algebra::zunionstore, "2.0.0",
        "O(N)+O(M*log(M)) with N members given and M stored",
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]",
        "Stores the members that any sorted set has.";
    "zinter" -3 READ SOURCES, algebra::zinter, "6.2.0",
        "O(N*K)+O(M*log(M)) with N members of the smallest of K sets and M returned",
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]",
        "Members that all sorted sets have.";
    "zinterstore" -4 STORE SOURCES_AND_DESTINATION, algebra::zinterstore, "2.0.0",
        "O(N*K)+O(M*log(M)) with N members of the smallest of K sets and M stored",
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]",
        "Stores the members that all sorted sets have.";
    "zintercard" -3 READ SOURCES, algebra::zintercard, "7.0.0", "O(N*K) with N members of the smallest of K sets",
        "numkeys key [key ...] [LIMIT limit]", "Number of members that all sorted sets have.";
    "zdiff" -3 READ SOURCES, algebra::zdiff, "6.2.0",
        "O(N*K)+O(M*log(M)) with N members of the first of K sets and M returned",
        "numkeys key [key ...] [WITHSCORES]", "Members that only the first sorted set has.";
    "zdiffstore" -4 STORE SOURCES_AND_DESTINATION, algebra::zdiffstore, "6.2.0",
        "O(N*K)+O(M*log(M)) with N members of the first of K sets and M stored",
        "destination numkeys key [key ...]", "Stores the members that only the first sorted set has.";
};

const WRITE: Flags = Flags::WRITE;

/// Writes `count` members; with scores flat in RESP2 and in pairs in RESP3.
fn show<'m>(
    members: impl Iterator<Item = (&'m [u8], f64)>,
    count: usize,
    with_scores: bool,
    reply: &mut Reply<'_>,
) {
    let pairs = with_scores && reply.resp3;
    reply.array(if with_scores && !pairs { 2 * count } else { count });
    for (member, score) in members {
        if pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.double(score);
        }
    }
}

/// Stores a result under `key`, or removes the key if there is none; replies how many.
fn store(cx: &mut Context<'_>, key: &[u8], result: ZSet, reply: &mut Reply<'_>) {
    let len = result.len();
    if len == 0 {
        cx.remove(key);
    } else {
        cx.insert(key, result.into_value());
    }
    reply.integer(len as i64);
}
