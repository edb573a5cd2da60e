use super::*;
use crate::keyspace::string::Str;

fn value() -> Value {
    Value::String(Str::Int(1))
}

/// A weak hash, so that collisions happen.
fn hash(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b9) & 0xffff_0fff
}

#[test]
fn sizes_of_what_exists_a_million_times() {
    assert_eq!(size_of::<Str>(), 24);
    assert_eq!(size_of::<Value>(), 24);
    assert_eq!(size_of::<Key>(), 24);
    assert_eq!(size_of::<Entry>(), 64);
}

#[test]
fn a_scan_shows_every_lasting_key_while_the_table_grows_and_shrinks() {
    let mut db = Db::default();
    for number in 0..1000u32 {
        db.insert_new(hash(number), &number.to_le_bytes(), value(), 0);
    }
    let mut seen = std::collections::HashSet::new();
    let mut from = Some(0);
    let mut extra = 1000u32;
    while let Some(at) = from {
        from = db.scan(at, 10, |entry| {
            seen.insert(entry.key.as_bytes().to_vec());
        });
        for _ in 0..50 {
            db.insert_new(hash(extra), &extra.to_le_bytes(), value(), 0);
            extra += 1;
        }
        if extra.is_multiple_of(3) {
            let gone = (extra - 20).to_le_bytes();
            db.remove(hash(extra - 20), &gone);
        }
    }
    for number in 0..1000u32 {
        assert!(seen.contains(number.to_le_bytes().as_slice()), "{number} was never shown");
    }
    assert!(db.scan_order.is_none());
}

#[test]
fn expired_keys_come_out_once_and_only_when_due() {
    let mut db = Db::default();
    for number in 0..500u32 {
        db.insert_new(hash(number), &number.to_le_bytes(), value(), 0);
        for deadline in [5000, 1000 + i64::from(number), i64::from(number)] {
            assert!(db.set_expire(hash(number), &number.to_le_bytes(), deadline));
        }
    }
    assert!(db.set_expire(hash(7), &7u32.to_le_bytes(), NEVER));
    assert_eq!(db.expires(), 499);
    let mut taken = 0;
    while let Some(entry) = db.take_expired(99) {
        assert!(entry.expire_at <= 99);
        taken += 1;
    }
    assert_eq!((taken, db.len(), db.expires()), (99, 401, 400));
    assert!(db.find(hash(7), &7u32.to_le_bytes()).is_some());
}

#[test]
fn stale_deadlines_do_not_pile_up() {
    let mut db = Db::default();
    db.insert_new(1, b"k", value(), 0);
    for at in 0..10_000 {
        db.set_expire(1, b"k", at);
    }
    assert!(db.deadlines.len() <= 66);
}

#[test]
fn databases_change_places_and_with_itself_one_stays() {
    let mut shard = Shard::new(3);
    for number in 0..3u32 {
        for key in 0..=number {
            shard.dbs[number].insert_new(hash(key), &key.to_le_bytes(), value(), 0);
        }
    }
    let lens = |shard: &Shard| shard.dbs.iter().map(Db::len).collect::<Vec<_>>();
    for (a, b, expected) in [(0, 2, [3, 2, 1]), (1, 2, [3, 1, 2]), (0, 0, [3, 1, 2]), (2, 2, [3, 1, 2])] {
        shard.swap(a, b, |_| 0);
        assert_eq!(lens(&shard), expected, "SWAPDB {a} {b}");
    }
}
