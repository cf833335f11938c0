"""Publish/subscribe, keyspace events and MONITOR: what real clients see, over several net threads and shards."""

import collections
import random
import re
import threading
import time
import unittest

import redis

from case import SLOW, ServerCase, eventually
from support import resp

SECONDS = 2.0


def message(raw):
    """The texts of a message's parts."""
    return [resp.text(part) for part in resp.children(raw)]


class PubSub(ServerCase):
    ARGUMENTS = ("--net-threads", "3", "--shard-threads", "3")

    def info(self, name):
        return self.client().info()[name]

    def subscribed(self, *commands, version=2):
        """A raw connection after these commands, confirmations read."""
        r = self.raw()
        if version == 3:
            r.command("HELLO", "3")
        for words in commands:
            r.command(*words)
        return r

    def test_every_subscriber_of_every_thread_gets_every_message_once_and_in_order(self):
        subscribers = [self.subscribed(["SUBSCRIBE", "order"], version=2 + i % 2) for i in range(30)]
        publisher = self.client()
        for i in range(500):
            self.assertEqual(publisher.publish("order", i), 30)
        for r in subscribers:
            self.assertEqual([message(r.reply())[2] for _ in range(500)], [b"%d" % i for i in range(500)])

    def test_the_count_of_receivers_covers_names_and_patterns_and_follows_who_comes_and_goes(self):
        publisher = self.client()
        a = self.subscribed(["SUBSCRIBE", "news.a"], ["PSUBSCRIBE", "news.*"])
        b = self.subscribed(["PSUBSCRIBE", "n*"])
        self.assertEqual(publisher.publish("news.a", "x"), 3)
        self.assertEqual(publisher.publish("news.b", "x"), 2)
        self.assertEqual([message(a.reply())[0] for _ in range(3)], [b"message", b"pmessage", b"pmessage"])
        b.close()
        self.assertTrue(eventually(lambda: publisher.publish("news.b", "y") == 1))
        a.command("RESET")
        self.assertTrue(eventually(lambda: publisher.publish("news.a", "x") == 0))
        self.assertTrue(eventually(lambda: self.info("pubsub_patterns") == 0 and self.info("pubsub_channels") == 0))

    def test_who_receives_a_message_finds_what_was_set_before_it(self):
        """The promise of one order, under load: SET and PUBLISH of one pipeline live on different shards."""
        stop = time.monotonic() + SECONDS * SLOW
        failures, received = [], collections.Counter()

        def publish(n):
            client, i = redis.Redis(port=self.server.port), 0
            while time.monotonic() < stop:
                with client.pipeline(transaction=False) as p:
                    for _ in range(20):
                        i += 1
                        p.set(f"data:{n}:{i}", i, ex=60)
                        p.publish(f"jobs:{n}", i)
                    p.execute()
            client.close()

        def receive(n, pattern):
            reader = redis.Redis(port=self.server.port)
            ps = reader.pubsub(ignore_subscribe_messages=True)
            ps.psubscribe("jobs:*") if pattern else ps.subscribe(f"jobs:{n}")
            try:
                while time.monotonic() < stop:
                    m = ps.get_message(timeout=0.1)
                    if m is None:
                        continue
                    received[n] += 1
                    key = f"data:{m['channel'].decode().split(':')[1]}:{m['data'].decode()}"
                    if received[n] % 5 == 0 and reader.get(key) != m["data"]:
                        failures.append(key)
            finally:
                ps.close()
                reader.close()
        threads = [threading.Thread(target=receive, args=(n, n % 2 == 0)) for n in range(4)]
        threads += [threading.Thread(target=publish, args=(n,)) for n in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.assertGreater(sum(received.values()), 100)

    def test_no_message_precedes_its_confirmation_nor_follows_that_of_the_end(self):
        stop, channels = threading.Event(), [f"flood{i}" for i in range(4)]

        def flood():
            client = redis.Redis(port=self.server.port)
            while not stop.is_set():
                with client.pipeline(transaction=False) as p:
                    for c in channels * 5:
                        p.publish(c, "x")
                    p.execute()
            client.close()
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for t in threads:
            t.start()
        try:
            for version in (2, 3):
                r = self.subscribed(version=version)
                for i in range(30):
                    words = [["PING", "first"], ["SUBSCRIBE", *channels[:2]], ["PSUBSCRIBE", "flood[23]"], ["PING", "between"],
                             ["UNSUBSCRIBE", channels[0]], ["UNSUBSCRIBE"], ["PUNSUBSCRIBE"], ["ECHO", f"end{i}"]]
                    r.send(b"".join(resp.encode([w.encode() for w in c]) for c in words))
                    self.check_conversation(r, b"end%d" % i)
        finally:
            stop.set()
            for t in threads:
                t.join()

    def check_conversation(self, r, end):
        active, answers = set(), []
        while True:
            raw = r.reply()
            parts = message(raw)
            if parts[0] in (b"subscribe", b"psubscribe"):
                active.add(parts[1])
            elif parts[0] in (b"unsubscribe", b"punsubscribe"):
                active.discard(parts[1])
            elif parts[0] in (b"message", b"pmessage"):
                self.assertIn(parts[1], active)
                continue
            answers.append(parts[0] if len(parts) > 1 or parts[0] == end else b"ping")
            if parts[0] == end:
                break
        self.assertEqual(answers, [b"ping", b"subscribe", b"subscribe", b"psubscribe", b"pong" if b"pong" in answers else b"ping",
                                   b"unsubscribe", b"unsubscribe", b"punsubscribe", end])

    def test_a_subscriber_that_does_not_read_is_cut_off_and_the_others_go_on(self):
        admin = self.client()
        admin.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
        self.addCleanup(admin.config_set, "client-output-buffer-limit", "pubsub 32mb 8mb 60")
        before = self.info("client_output_buffer_limit_disconnections")
        lazy = [self.subscribed(["SUBSCRIBE", "big"]) for _ in range(3)]
        eager, count = self.client().pubsub(ignore_subscribe_messages=True), 0
        eager.subscribe("big")
        eager.get_message(timeout=5)
        payload = b"x" * 65536
        deadline = time.monotonic() + 20 * SLOW
        while admin.publish("big", payload) > 1:
            self.assertLess(time.monotonic(), deadline)
            while eager.get_message(timeout=0):
                count += 1
        admin.publish("big", "last")
        while True:
            m = eager.get_message(timeout=10 * SLOW)
            self.assertIsNotNone(m)
            count += 1
            if m["data"] == b"last":
                break
        self.assertGreater(count, 10)
        self.assertEqual(self.info("client_output_buffer_limit_disconnections"), before + 3)
        self.assertIn("overcoming of output buffer limits", self.server.output())
        for r in lazy:
            r.rest()

    def test_the_soft_limit_waits_for_its_seconds(self):
        admin = self.client()
        admin.config_set("client-output-buffer-limit", "pubsub 0 100kb 1")
        self.addCleanup(admin.config_set, "client-output-buffer-limit", "pubsub 32mb 8mb 60")
        self.subscribed(["SUBSCRIBE", "soft"])
        payload = b"x" * 1000000
        began = time.monotonic()
        for _ in range(12):
            admin.publish("soft", payload)
        while admin.publish("soft", "x") == 1:
            self.assertLess(time.monotonic() - began, 20 * SLOW)
            time.sleep(0.02)
        self.assertGreater(time.monotonic() - began, 0.9)

    def test_many_channels_and_patterns_come_and_go(self):
        r = self.subscribed(version=3)
        names = [f"many:{i}" for i in range(5000)]
        r.send(resp.encode([b"SUBSCRIBE", *(n.encode() for n in names)]))
        counts = [int(message(r.reply())[2]) for _ in names]
        self.assertEqual(counts, list(range(1, 5001)))
        admin = self.client()
        self.assertEqual(sorted(admin.pubsub_channels("many:*")), sorted(n.encode() for n in names))
        self.assertEqual(admin.pubsub_numsub("many:1", "many:none", "many:4999"), [(b"many:1", 1), (b"many:none", 0), (b"many:4999", 1)])
        self.assertEqual(self.info("pubsub_channels"), 5000)
        self.assertEqual(self.info("pubsub_clients"), 1)
        r.send(resp.encode([b"UNSUBSCRIBE"]))
        counts = [int(message(r.reply())[2]) for _ in names]
        self.assertEqual(counts, list(range(4999, -1, -1)))
        self.assertEqual(self.info("pubsub_channels"), 0)

    def test_clients_that_vanish_in_the_middle_leave_nothing_behind(self):
        for i in range(200):
            r = self.raw()
            r.send(resp.encode([b"SUBSCRIBE", b"gone%d" % i, b"gone"]) + resp.encode([b"PSUBSCRIBE", b"go*"]))
            if i % 2:
                r.reply()
            r.close()
        for name in ("pubsub_channels", "pubsub_patterns", "pubsub_clients"):
            self.assertTrue(eventually(lambda name=name: self.info(name) == 0), name)

    def test_sharded_channels_are_a_space_of_their_own(self):
        r = self.subscribed(["SSUBSCRIBE", "s1"], ["PSUBSCRIBE", "*"])
        c = self.client()
        self.assertEqual(c.execute_command("SPUBLISH", "s1", "m"), 1)
        self.assertEqual(message(r.reply()), [b"smessage", b"s1", b"m"])
        self.assertEqual(c.publish("s1", "p"), 1)
        self.assertEqual(message(r.reply()), [b"pmessage", b"*", b"s1", b"p"])
        self.assertEqual(c.execute_command("PUBSUB", "SHARDNUMSUB", "s1"), [b"s1", 1])
        self.assertEqual(c.execute_command("PUBSUB", "SHARDCHANNELS"), [b"s1"])

    def test_client_list_and_kill_know_subscribers(self):
        r = self.subscribed(["SUBSCRIBE", "kill"], ["PSUBSCRIBE", "k*"], ["SSUBSCRIBE", "x"], ["SSUBSCRIBE", "y"])
        c = self.client()
        line = c.execute_command("CLIENT LIST", "TYPE", "PUBSUB")
        self.assertEqual([(x["flags"], x["sub"], x["psub"], x["ssub"]) for x in line], [("P", "1", "1", "2")])
        self.assertEqual(c.execute_command("CLIENT KILL", "TYPE", "pubsub"), 1)
        self.assertEqual(r.rest(), b"")
        self.assertTrue(eventually(lambda: c.publish("kill", "x") == 0))

    def test_keyspace_events_reach_a_subscriber_by_name_whatever_shard_the_key_is_on(self):
        c = self.client()
        c.config_set("notify-keyspace-events", "KEA")
        self.addCleanup(c.config_set, "notify-keyspace-events", "")
        by_name = self.subscribed(["SUBSCRIBE", "__keyevent@0__:set", "__keyevent@0__:expired"])
        by_name.reply()
        for i in range(20):
            c.set(f"event{i}", 1)
        self.assertEqual(sorted(message(by_name.reply())[2] for _ in range(20)), sorted(b"event%d" % i for i in range(20)))
        c.set("soon", 1, px=5)
        self.assertEqual(message(by_name.reply())[2], b"soon")
        self.assertEqual(message(by_name.reply()), [b"message", b"__keyevent@0__:expired", b"soon"])
        self.assertEqual(c.publish("__keyevent@0__:set", "by hand"), 1)
        self.assertEqual(c.pubsub_numsub("__keyevent@0__:set"), [(b"__keyevent@0__:set", 1)])
        self.assertEqual(sorted(c.pubsub_channels()), [b"__keyevent@0__:expired", b"__keyevent@0__:set"])


class Tracking(ServerCase):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "3")

    def test_a_cache_that_trusts_invalidations_is_never_stale_for_long(self):
        """Writers change counters; a reader caches what it reads until it is told. In the end both agree."""
        stop, keys = time.monotonic() + SECONDS * SLOW, [f"cached{i}" for i in range(20)]

        def write(n):
            client = redis.Redis(port=self.server.port)
            while time.monotonic() < stop:
                with client.pipeline(transaction=False) as p:
                    for k in keys[n::2]:
                        p.incr(k)
                    p.execute()
            client.close()
        threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
        for t in threads:
            t.start()
        r, cache, pushes = self.raw(), {}, 0
        r.command("HELLO", "3")
        r.command("CLIENT", "TRACKING", "ON")
        rounds = 0
        while time.monotonic() < stop or rounds < 2:
            rounds = rounds + 1 if time.monotonic() >= stop + 0.5 else 0
            if rounds == 1:
                for t in threads:
                    t.join()
            missing = [k for k in keys if k not in cache]
            r.send(b"".join(resp.encode([b"GET", k.encode()]) for k in missing) + resp.encode([b"ECHO", b"end"]))
            asked = iter(missing)
            while (raw := r.reply()) != b"$3\r\nend\r\n":
                if raw[:1] == b">":
                    pushes += 1
                    cache.pop(resp.text(resp.children(resp.children(raw)[1])[0]).decode(), None)
                else:
                    cache[next(asked)] = resp.text(raw)
            time.sleep(0.001)
        self.assertGreater(pushes, 20)
        self.assertEqual([cache[k] for k in keys], self.client().mget(keys))

    def test_info_counts_what_is_tracked(self):
        r, c = self.raw(), self.client()
        c.flushall()  # what connections that have gone had read
        r.command("HELLO", "3")
        r.command("CLIENT", "TRACKING", "ON")
        r.command("MGET", *[f"t{i}" for i in range(50)])
        info = c.info()
        self.assertEqual((info["tracking_clients"], info["tracking_total_keys"], info["tracking_total_items"]), (1, 50, 50))
        c.flushall()
        self.assertEqual(r.reply(), b">2\r\n$10\r\ninvalidate\r\n_\r\n")
        self.assertEqual(c.info()["tracking_total_keys"], 0)
        r.close()
        self.assertTrue(eventually(lambda: c.info()["tracking_clients"] == 0))

    def test_a_cache_is_kept_fresh_over_a_second_connection(self):
        """What redis-py's users of RESP2 do: invalidations come as messages of a subscription elsewhere."""
        for _ in range(6):  # connections of every net thread
            told = self.client(decode_responses=True).pubsub()
            told.subscribe("__redis__:invalidate")
            self.assertEqual(told.get_message(timeout=5)["type"], "subscribe")
            reader = redis.Redis(port=self.server.port, single_connection_client=True, decode_responses=True)
            other = self.client()
            target = [c["id"] for c in other.client_list() if c["sub"] == "1"][-1]
            self.assertTrue(reader.client_tracking_on(clientid=int(target)))
            self.assertEqual(reader.client_getredir(), int(target))
            for i in range(20):
                reader.get(f"cached:{i}")
                other.set(f"cached:{i}", i)
                self.assertEqual(told.get_message(timeout=5)["data"], [f"cached:{i}"])
            reader.get("cached:0")
            told.close()
            self.assertTrue(eventually(lambda: target not in [c["id"] for c in other.client_list()]))
            other.set("cached:0", "new")
            self.assertTrue(eventually(lambda: "broken_redirect" in reader.execute_command("CLIENT", "TRACKINGINFO")[1]))
            reader.close()


class MessageOrder(ServerCase):
    """Messages over channels of all shards come in the order in which they were published, to everybody."""
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "2")
    CHANNELS = [b"c%d" % i for i in range(24)]
    ROUNDS = 60
    SCRIPT = b"for i = 1, #ARGV do redis.call('PUBLISH', ARGV[i], KEYS[1] .. ' ' .. (tonumber(KEYS[2]) or 0) + i - 1) end"

    def publisher(self, number, ways):
        c = self.raw()
        rng = random.Random(number)

        def run():
            n = 0
            for turn in range(self.ROUNDS):
                commands, chosen = [], [rng.choice(self.CHANNELS) for _ in range(rng.randrange(1, 9))]
                publish = [[b"PUBLISH", ch, b"%d %d" % (number, n + i)] for i, ch in enumerate(chosen)]
                way = ways[turn % len(ways)]
                if way == "transaction":
                    commands = [[b"MULTI"]] + publish + [[b"SET", b"k%d" % n, b"v"], [b"EXEC"]]
                elif way == "script":
                    commands = [[b"EVAL", self.SCRIPT, b"2", b"%d" % number, b"%d" % n] + chosen]
                else:
                    commands = publish
                n += len(chosen)
                for words in commands:
                    c.send(resp.encode(words))
                    self.waiting[number] += 1
                    if way == "one by one" or turn % 4 == 3:
                        self.take_replies(c, number)
            self.take_replies(c, number)
            self.sent[number] = n
        return run

    def take_replies(self, c, number):
        for _ in range(self.waiting[number]):
            reply = c.reply()
            self.assertNotEqual(reply[:1], b"-", reply)
        self.waiting[number] = 0

    def test_every_subscriber_sees_each_publisher_in_order_and_all_see_one_order(self):
        self.waiting, self.sent = collections.Counter(), {}
        learning = self.raw()
        for _ in range(20):  # until it is known that it needs other shards
            learning.command("EVAL", self.SCRIPT, "2", "{x}1", "2{x}", *self.CHANNELS)
        subscribers = [self.raw() for _ in range(6)]
        for i, s in enumerate(subscribers):
            if i % 3 == 2:
                s.command("PSUBSCRIBE", "c*")
            else:
                s.send(resp.encode([b"SUBSCRIBE"] + self.CHANNELS))
                for _ in self.CHANNELS:
                    s.reply()
        ways = [["pipeline"], ["one by one"], ["transaction"], ["script"], ["pipeline", "transaction", "one by one", "script"]]
        publishers = [threading.Thread(target=self.publisher(i, ways[i % len(ways)])) for i in range(10)]
        for p in publishers:
            p.start()
        for p in publishers:
            p.join()
        total = sum(self.sent.values())
        self.assertEqual(len(self.sent), len(publishers))
        orders = []
        for s in subscribers:
            seen, last = [], collections.Counter()
            for _ in range(total):
                text = message(s.reply())[-1]
                number, n = (int(x) for x in text.split())
                self.assertEqual(n, last[number], f"of publisher {number}, way {ways[number % len(ways)]}")
                last[number] += 1
                seen.append((number, n))
            orders.append(seen)
        for seen in orders[1:]:
            self.assertEqual(seen, orders[0])


class MessageOrderOnSevenShards(MessageOrder):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "7")


class MessageOrderOnSharedThreads(MessageOrder):
    ARGUMENTS = ("--threads", "3")


class Monitor(ServerCase):
    ARGUMENTS = ("--threads", "3")

    def test_monitors_of_all_threads_see_all_commands_in_the_order_of_each_connection(self):
        monitors = [self.raw() for _ in range(4)]
        for m in monitors:
            self.assertEqual(m.command("MONITOR"), b"+OK\r\n")
        clients = [self.raw() for _ in range(5)]
        for i in range(100):
            for n, c in enumerate(clients):
                c.send(resp.encode([b"SET", b"k%d" % n, b"%d" % i]))
        for c in clients:
            for _ in range(100):
                c.reply()
        for m in monitors:
            seen = collections.defaultdict(list)
            for _ in range(500):
                line = m.reply()
                self.assertRegex(line, rb'^\+\d{10}\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "k\d" "\d+"\r\n$')
                words = line.split(b'"')
                seen[words[3]].append(int(words[5]))
            self.assertEqual([seen[b"k%d" % n] for n in range(5)], [list(range(100))] * 5)

    def lines_of(self, monitors, count):
        """What each of them gets, without times and addresses."""
        cut = re.compile(rb"^\+\d{10}\.\d{6} (\[\d+ )(lua|127\.0\.0\.1:\d+)(.*)\r\n$")
        return [[b"".join(p if p == b"lua" or not p.startswith(b"127") else b"*" for p in cut.match(m.reply()).groups()).decode()
                 for _ in range(count)] for m in monitors]

    def test_what_a_script_calls_is_shown_behind_its_own_line_wherever_it_runs(self):
        """In place on this shard or another, under a holding of its keys or of everything, as a function, and in a transaction."""
        c = self.raw()
        c.command("FUNCTION", "LOAD", "REPLACE", "#!lua name=l\nredis.register_function('f', function(k, a) "
                  "redis.call('SET', k[1], a[1]) return redis.call('GET', k[1]) end)")
        monitors = [self.raw() for _ in range(4)]
        for m in monitors:
            m.command("MONITOR")
        two = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[#KEYS])"
        elsewhere = "redis.call('select', 3); return redis.pcall('LPUSH', 'undeclared' .. ARGV[1], 1)"
        for i in range(20):  # from the 17th run on the first is modest
            n = str(i)
            calls = [(["EVAL", two, "1", "k" + n, n], ["SET|k%s|%s" % (n, n), "GET|k" + n]),
                     (["EVAL", two, "2", "k" + n, "j" + n, n], ["SET|k%s|%s" % (n, n), "GET|j" + n]),
                     (["EVAL", elsewhere, "1", "k" + n, n], ["3select|3", "3LPUSH|undeclared%s|1" % n]),
                     (["FCALL", "f", "1", "k" + n, n], ["SET|k%s|%s" % (n, n), "GET|k" + n])]
            wanted = []
            for words, called in calls:
                c.send(resp.encode([w.encode() for w in words]) + resp.encode([b"PING"]))
                wanted.append("[0 *] " + " ".join(f'"{w}"' for w in words))
                for call in called:
                    db = "3" if call[0] == "3" else "0"
                    wanted.append(f"[{db} lua] " + " ".join(f'"{w}"' for w in call.lstrip("3").split("|")))
                wanted.append('[0 *] "PING"')
            for lines in self.lines_of(monitors, len(wanted)):
                self.assertEqual(lines, wanted)
            for _ in range(2 * len(calls)):
                c.reply()

    def test_a_transaction_is_shown_when_it_runs_and_only_if_it_does(self):
        c = self.raw()
        monitors = [self.raw() for _ in range(4)]
        for m in monitors:
            m.command("MONITOR")

        def run(*commands):
            for words in commands:
                c.send(resp.encode([w.encode() for w in words.split()]))
            for _ in commands:
                c.reply()
        for i in range(20):  # keys of one shard, of several
            run("SELECT 0", "MULTI", f"SET a{i} 1", f"GET b{i}", "EXEC", "PING")
            run("WATCH w", f"SET w {i}", "MULTI", "SET a 1", "EXEC", "PING")
            run("WATCH w", "MULTI", "SET a 2", f"RENAME a c{i}", "CONFIG GET port", "EVAL return(redis.call('GET',KEYS[1])) 1 a", "SELECT 2",
                "PUBLISH x y", "EXEC", "PING")
            run("SELECT 0", "MULTI", "SET a", "SET b 1", "EXEC", "MULTI", "SET b 1", "DISCARD", "PING")
            wanted = ['[0 *] "SELECT" "0"', '[0 *] "MULTI"', f'[0 *] "SET" "a{i}" "1"', f'[0 *] "GET" "b{i}"', '[0 *] "EXEC"', '[0 *] "PING"',
                      '[0 *] "WATCH" "w"', f'[0 *] "SET" "w" "{i}"', '[0 *] "MULTI"', '[0 *] "EXEC"', '[0 *] "PING"',
                      '[0 *] "WATCH" "w"', '[0 *] "MULTI"', '[0 *] "SET" "a" "2"', f'[0 *] "RENAME" "a" "c{i}"',
                      '[0 *] "EVAL" "return(redis.call(\'GET\',KEYS[1]))" "1" "a"', '[0 lua] "GET" "a"', '[2 *] "SELECT" "2"',
                      '[2 *] "PUBLISH" "x" "y"', '[2 *] "EXEC"', '[2 *] "PING"',
                      '[0 *] "SELECT" "0"', '[0 *] "MULTI"', '[0 *] "EXEC"', '[0 *] "MULTI"', '[0 *] "DISCARD"', '[0 *] "PING"']
            for lines in self.lines_of(monitors, len(wanted)):
                self.assertEqual(lines, wanted)

    def test_a_script_whose_calls_fill_the_memory_cuts_the_monitors(self):
        m, c = self.raw(), self.client()
        m.command("MONITOR")
        big = "local v = string.rep('x', 1e6) for i = 1, 40 do redis.call('SET', KEYS[1], v) end return 1"
        self.assertEqual(c.eval(big, 1, "k"), 1)
        self.assertTrue(eventually(lambda: c.client_list(_type="pubsub") == []))

    def test_a_monitor_that_does_not_read_is_cut_off_and_stalls_nobody(self):
        admin = self.client()
        admin.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
        lazy = [self.raw() for _ in range(3)]
        for r in lazy:
            r.command("MONITOR")
        c = self.client()
        deadline = time.monotonic() + 20 * SLOW
        while admin.info()["client_output_buffer_limit_disconnections"] < 3:
            self.assertLess(time.monotonic(), deadline)
            with c.pipeline(transaction=False) as p:
                for _ in range(50):
                    p.set("k", b"x" * 10000)
                p.execute()
        self.assertEqual(admin.client_list(_type="pubsub"), [])

    def test_a_monitor_may_not_touch_keys_and_reset_ends_it(self):
        m = self.raw()
        m.command("MONITOR")
        self.assertEqual(m.command("GET", "k"), b"-ERR Replica can't interact with the keyspace\r\n")
        self.assertEqual(m.command("RESET"), b"+RESET\r\n")
        self.client().set("k", 1)
        self.assertEqual(m.command("PING"), b"+PONG\r\n")


if __name__ == "__main__":
    unittest.main()
