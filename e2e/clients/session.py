"""A plain redis-py session, every answer checked. Usage: session.py ADDRESS [PORT]"""
import sys
import threading
import time

import redis

address = sys.argv[1]
port = int(sys.argv[2]) if len(sys.argv) > 2 else 6379


def check(got, expected):
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


r = redis.Redis(host=address, port=port)
r.flushall()
check(r.ping(), True)
check(r.set("k", "v", ex=100), True)
check(r.get("k"), b"v")
check(95 <= r.ttl("k") <= 100, True)
check(r.set("k", "w", nx=True), None)
check(r.set("k", "w", xx=True, get=True), b"v")
check(r.incrby("n", 5), 5)
check(r.incrbyfloat("n", 0.5), 5.5)
check(r.mset({"a": 1, "b": 2}), True)
check(r.mget("a", "b", "c"), [b"1", b"2", None])
check(r.delete("a", "b", "c"), 2)
check(r.set("gone", "soon", px=20), True)
while r.exists("gone"):
    time.sleep(0.005)

check(r.rpush("l", *range(10)), 10)
check(r.lrange("l", 2, 4), [b"2", b"3", b"4"])
check(r.lpop("l", 2), [b"0", b"1"])
check(r.hset("h", mapping={"x": 1, "y": 2}), 2)
check(r.hgetall("h"), {b"x": b"1", b"y": b"2"})
check(r.sadd("s", "a", "b", "c"), 3)
check(r.smembers("s"), {b"a", b"b", b"c"})
check(r.zadd("z", {"one": 1, "two": 2, "half": 0.5}), 3)
check(r.zrange("z", 0, -1, withscores=True), [(b"half", 0.5), (b"one", 1.0), (b"two", 2.0)])

with r.pipeline(transaction=True) as p:
    p.incr("c").incr("c").get("c")
    check(p.execute(), [1, 2, b"2"])
with r.pipeline() as p:
    p.watch("c")
    p.multi()
    p.incr("c")
    r.set("c", 100)
    try:
        p.execute()
        raise AssertionError("a watched key changed, yet EXEC ran")
    except redis.WatchError:
        pass

for n in range(500):
    r.set(f"scan:{n}", n)
check(len(set(r.scan_iter(match="scan:*", count=37))), 500)

# A large value in both directions, and a long pipeline that is written before it is read.
big = bytes(range(256)) * 4 * 10240
check(r.set("big", big), True)
check(r.get("big") == big, True)
check(r.strlen("big"), len(big))
with r.pipeline(transaction=False) as p:
    for n in range(20000):
        p.set(f"p:{n % 100}", n)
        p.get(f"p:{n % 100}")
    answers = p.execute()
check(all(answers[2 * n + 1] == str(n).encode() for n in range(20000)), True)

other = redis.Redis(host=address, port=port, db=3)
check(other.get("k"), None)
check(other.set("k", "in 3"), True)
check(r.get("k"), b"w")
check(other.dbsize(), 1)
check(r.client_setname("tester"), True)
check(any(c["name"] == "tester" for c in r.client_list()), True)
check(r.config_get("maxmemory").get("maxmemory"), "0")
check("redis_version" in r.info(), True)
check(len(r.command()) > 100, True)
try:
    r.execute_command("GET")
    raise AssertionError("GET without a key was taken")
except redis.ResponseError as error:
    check(str(error), "wrong number of arguments for 'get' command")
try:
    r.lpush("k", 1)
    raise AssertionError("LPUSH on a string was taken")
except redis.ResponseError as error:
    check(str(error).startswith("WRONGTYPE"), True)


def short_lived(count):
    for n in range(count):
        one = redis.Redis(host=address, port=port)
        check(one.get("k"), b"w")
        one.close()


threads = [threading.Thread(target=short_lived, args=(50,)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
r.flushall()
print("session passed")
