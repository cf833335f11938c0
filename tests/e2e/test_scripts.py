"""Scripts with real clients: keys that are not declared, on many shards; endless loops; money that must not get lost."""

import os
import random
import threading
import time
import unittest

import redis

from case import ServerCase, eventually
from support import resp, servers

SECONDS = float(os.environ.get("SHOAL_TRANSFER_SECONDS", "5"))
ACCOUNTS = 200
START = 100

DECLARED = """
if tonumber(redis.call('get', KEYS[1])) < tonumber(ARGV[1]) then return 0 end
redis.call('decrby', KEYS[1], ARGV[1])
redis.call('incrby', KEYS[2], ARGV[1])
return 1
"""
UNDECLARED = """
local from, to = 'account:' .. ARGV[2], 'account:' .. ARGV[3]
if tonumber(redis.call('get', from)) < tonumber(ARGV[1]) then return 0 end
redis.call('decrby', from, ARGV[1])
redis.call('incrby', to, ARGV[1])
return 1
"""
ENDLESS = "while true do pcall(function() while true do redis.call('get', 'x') end end) end"


class Scripts(ServerCase):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "7", "--enable-debug-command", "yes")

    def setUp(self):
        super().setUp()
        self.client().flushall()

    def counter(self, name):
        return self.client().info("memory")[name]

    def test_a_registered_script_survives_a_flush(self):
        client = self.client()
        script = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
        self.assertEqual(script(keys=["a"], args=[5]), 5)
        client.script_flush()
        self.assertEqual(script(keys=["a"], args=[5]), 10)
        self.assertEqual(client.script_exists(script.sha), [True])

    def test_a_script_that_is_loaded_is_known_on_every_connection_at_once(self):
        first, second = self.client(), self.client()
        for i in range(200):
            sha = first.script_load(f"return {i}")
            self.assertEqual(second.evalsha(sha, 0), i)

    def test_a_function_is_known_everywhere_at_once_and_replaced_at_once(self):
        first, second = self.client(), self.client()
        for i in range(100):
            body = f"function(keys) return redis.call('incrby', keys[1], {i}) end"
            first.function_load(f"#!lua name=lib\nredis.register_function('f', {body})", replace=True)
            self.assertEqual(second.fcall("f", 1, f"key{i}"), i)
        first.function_flush()
        with self.assertRaisesRegex(redis.ResponseError, "Function not found"):
            second.fcall("f", 1, "a")

    def test_redis_call_in_functions_that_the_library_calls(self):
        text = """
            local gsub = ('abc'):gsub('%w', function(c) return redis.call('incr', 'n' .. c) end)
            local t = {3, 1, 2}
            table.sort(t, function(a, b) redis.call('incr', 'compared') return a < b end)
            return {gsub, t, tonumber(redis.call('get', 'compared')) > 0}"""
        self.assertEqual(self.client().eval(text, 0), [b"111", [1, 2, 3], 1])

    def test_undeclared_keys_of_any_shard(self):
        client = self.client()
        text = "for i = 1, 50 do redis.call('incr', 'k' .. i) end return redis.call('mget', 'k1', 'k2', 'k50')"
        for n in range(1, 6):
            self.assertEqual(client.eval(text, 0), [str(n).encode()] * 3)

    def test_a_script_that_keeps_to_its_keys_runs_in_place(self):
        client = self.client()
        for _ in range(40):
            client.eval("return redis.call('incr', KEYS[1])", 1, "a")
        self.assertEqual(client.get("a"), b"40")
        self.assertGreater(self.counter("scripts_in_place"), 0)

    def test_a_modest_script_that_reads_farther_starts_again(self):
        client = self.client()
        text = "if ARGV[1] == 'far' then return redis.call('get', ARGV[2]) end return redis.call('incr', KEYS[1])"
        for i in range(30):
            client.set(f"far{i}", i)
        for _ in range(20):
            client.eval(text, 1, "a", "near")
        before = self.counter("scripts_restarted")
        self.assertEqual([client.eval(text, 1, "a", "far", f"far{i}") for i in range(30)], [str(i).encode() for i in range(30)])
        self.assertGreater(self.counter("scripts_restarted"), before)

    def test_a_modest_script_that_wrote_before_it_needed_more_says_so_and_works_from_then_on(self):
        client = self.client()
        text = "redis.call('incr', KEYS[1]) if ARGV[1] then redis.call('incr', ARGV[1]) end return 1"
        for _ in range(20):
            client.eval(text, 1, "a")
        failures = 0
        for i in range(30):
            try:
                client.eval(text, 1, "a", f"far{i}")
            except redis.ResponseError as error:
                self.assertIn("Declare all its keys", str(error))
                failures += 1
        self.assertLessEqual(failures, 1)

    def test_an_endless_script_can_be_killed(self):
        client = self.client()
        client.config_set("busy-reply-threshold", 200)
        errors = []

        def run():
            try:
                self.client().eval(ENDLESS, 0)
            except redis.ResponseError as error:
                errors.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        with self.assertRaisesRegex(redis.ResponseError, "BUSY"):
            for _ in range(100):
                client.execute_command("ECHO", "x")
                time.sleep(0.05)
        self.assertTrue(client.script_kill())
        thread.join(10)
        self.assertIn("Script killed by user", errors[0])
        self.assertEqual(client.ping(), True)

    def test_scripts_wait_for_the_end_of_a_pause_of_writes(self):
        admin = self.client()
        sleepers = [self.raw() for _ in range(3)]
        sleepers[2].command("MULTI")
        sleepers[2].command("EVAL", "return 3", "0")
        admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        began = time.monotonic()
        for s, words in zip(sleepers, (["EVAL", "return 1", "0"], ["EVALSHA", "0" * 40, "0"], ["EXEC"])):
            s.send(resp.encode([w.encode() for w in words]))
        self.assertEqual(self.raw().command("EVAL_RO", "return 2", "0"), b":2\r\n")
        for s in sleepers:
            s.socket.settimeout(0.2)
            self.assertRaises(TimeoutError, s.reply)
            s.socket.settimeout(30)
        admin.execute_command("CLIENT", "UNPAUSE")
        self.assertEqual([s.reply()[:4] for s in sleepers], [b":1\r\n", b"-NOS", b"*1\r\n"])
        self.assertLess(time.monotonic() - began, 50)

    def test_an_endless_script_that_has_written_cannot_be_killed_but_the_server_can_be_stopped(self):
        for arguments in (self.ARGUMENTS, ("--threads", "1")):
            with self.subTest(arguments), servers.shoal_server(*arguments) as server:
                self.check_endless_writer(server)

    def check_endless_writer(self, server):
        def ask(*words):
            with server.connect() as s:
                s.sendall(resp.encode([w.encode() for w in words]))
                return s.recv(1 << 12).decode()

        ask("CONFIG", "SET", "busy-reply-threshold", "100")
        ask("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function(k) redis.call('SET', k[1], 1) while true do end end)")
        endless = server.connect()
        endless.sendall(resp.encode([b"FCALL", b"f", b"1", b"k"]))
        busy = "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.\r\n"
        deadline = time.monotonic() + 20
        while ask("PING") != busy:
            self.assertLess(time.monotonic(), deadline)
        self.assertRegex(ask("FUNCTION", "STATS"), r"(?s)running_script.*\$1\r\nf\r\n.*\$5\r\nFCALL\r\n")
        self.assertRegex(ask("FUNCTION", "KILL"), "^-UNKILLABLE Sorry the script already executed write commands")
        self.assertRegex(ask("SCRIPT", "KILL"), "^-UNKILLABLE ")
        for words in ([], ["SAVE"], ["NOW"], ["FORCE"]):
            self.assertEqual(ask("SHUTDOWN", *words), busy)
        self.assertEqual(ask("SHUTDOWN", "ABORT"), "-ERR No shutdown in progress.\r\n")
        self.assertEqual(ask("SHUTDOWN", "NOSAVE"), "")
        self.assertEqual(server.wait(20), 0)
        endless.close()

    def test_scripts_cannot_take_all_memory(self):
        client = self.client()
        with self.assertRaises(redis.ResponseError):
            client.eval("local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1000) .. i end", 0)
        self.assertEqual(client.eval("return 1", 0), 1)

    def test_scripts_that_are_gone_leave_no_memory(self):
        def settled():
            """The memory of all Lua states, when it has stayed the same for a while."""
            seen = [0]

            def is_still():
                seen.append(self.counter("used_memory_vm_total"))
                return len(seen) > 20 and len(set(seen[-20:])) == 1
            self.assertTrue(eventually(is_still))
            return seen[-1]
        client = self.client()
        pipe = client.pipeline(transaction=False)

        def run(first):
            for i in range(first, first + 4000):
                pipe.eval(f"return '{i}' .. KEYS[1]", 1, f"k{i}")
            pipe.execute()
        run(0)
        client.script_flush()
        before = settled()
        run(4000)
        self.assertGreater(self.counter("used_memory_vm_total"), before + 1_000_000)
        client.script_flush()
        self.assertTrue(eventually(lambda: self.counter("used_memory_vm_total") < before + 100_000))
        keep = "#!lua name=keep\nlocal n = 0\nredis.register_function('count', function() n = n + 1 return n end)"
        client.function_load(keep, replace=True)
        self.assertEqual([client.fcall("count", 1, "k") for _ in range(3)], [1, 2, 3])
        before = settled()
        for i in range(500):
            client.function_load(f"#!lua name=goes\nredis.register_function('goes', function() return {i} end)", replace=True)
            self.assertEqual(client.fcall("goes", 1, f"k{i}"), i)
        client.function_delete("goes")
        self.assertTrue(eventually(lambda: self.counter("used_memory_vm_total") < before + 100_000))
        self.assertEqual(client.fcall("count", 1, "k"), 4)
        client.eval("local t = {} for i = 1, 200000 do t[i] = {i} end return #t", 0)
        self.assertTrue(eventually(lambda: self.counter("used_memory_vm_total") < before + 100_000))
        client.function_flush()

    def test_a_transaction_with_scripts(self):
        with self.client().pipeline() as p:
            p.set("a", 1).eval("return redis.call('incr', 'a') + redis.call('incr', 'b')", 0).get("b")
            self.assertEqual(p.execute(), [True, 3, b"1"])

    def test_replies_of_a_pipeline_keep_their_order(self):
        with self.client().pipeline(transaction=False) as p:
            for i in range(100):
                p.eval("redis.call('set', KEYS[1], ARGV[1]) return ARGV[1]", 1, f"k{i}", i).get(f"k{i}")
            replies = p.execute()
        self.assertEqual(replies, [str(i // 2).encode() for i in range(200)])

    def test_settings_of_cjson_last_until_the_script_ends(self):
        client = self.client()
        sparse = "cjson.encode({[1000] = 1})"
        self.assertEqual(client.eval(f"cjson.encode_sparse_array(true) return {sparse}", 0), b'{"1000":1}')
        self.assertRaisesRegex(redis.ResponseError, "excessively sparse", client.eval, f"return {sparse}", 0)
        self.assertEqual(client.eval("local own = cjson.new() own.encode_max_depth(3) return cjson.encode_max_depth()", 0), 1000)

    def test_random_numbers_differ_between_runs_unless_they_are_seeded(self):
        client = self.client()
        self.assertGreater(len({client.eval("return math.random(1000000)", 0) for _ in range(10)}), 1)
        seeded = "math.randomseed(10) return {math.random(1000000), math.random(1000000), math.random(5)}"
        for _ in range(3):
            self.assertEqual(client.eval(seeded, 0), [878852, 795807, 3])

    def test_a_set_that_is_not_sorted_is_sorted_for_scripts_and_transactions(self):
        client = self.client()
        client.sadd("s", "b", "aa", "c", "a", 10, 9)
        expected = [b"10", b"9", b"a", b"aa", b"b", b"c"]
        self.assertEqual(client.eval("return redis.call('sort', KEYS[1], 'by', 'nosort')", 1, "s"), expected)
        self.assertEqual(client.eval("return redis.call('sort_ro', 's', 'by', 'nosort', 'limit', 1, 2)", 0), expected[1:3])
        with client.pipeline(transaction=True) as p:
            self.assertEqual(p.set("x", 1).sort("s", by="nosort", desc=True).execute()[1], expected[::-1])

    def test_an_order_that_is_none_is_found_where_the_script_sorts(self):
        script = "redis.call('set', 'x', 1)\nlocal t = {} for i = 1, 100 do t[i] = i % 7 end\ntable.sort(t, function(a, b) return true end)"
        for declared in (0, 1):
            self.assertRaisesRegex(redis.ResponseError, "^user_script:3: invalid order function for sorting", self.client().eval, script, declared, "x")

    def test_time_stands_still_for_a_script_that_holds_everything(self):
        script = """
            redis.call('set', 'key', 'value', 'px', 20)
            for i = 1, 3000 do redis.call('exists', 'other' .. i) end
            return {redis.call('pttl', 'key'), redis.call('exists', 'key')}
        """
        self.assertEqual(self.client().eval(script, 0), [20, 1])

    def test_commands_of_scripts_are_counted_wherever_they_run(self):
        client = self.client()
        client.set("x", "y")
        client.config_resetstat()
        for _ in range(40):  # the first ones under a holding, the others in place
            self.assertRaises(redis.ResponseError, client.eval, "redis.call('get', KEYS[1]) redis.pcall('get') return redis.call('incr', KEYS[1])", 1, "x")
        stats = client.info("commandstats")
        for name, calls, rejected, failed in ("get", 40, 40, 0), ("incr", 40, 0, 40), ("eval", 40, 0, 40):
            of = stats["cmdstat_" + name]
            self.assertEqual((of["calls"], of["rejected_calls"], of["failed_calls"]), (calls, rejected, failed), name)

    def test_line_ends_in_numbers_of_a_script_do_not_split_the_reply(self):
        with self.client().pipeline(transaction=False) as p:
            self.assertEqual(p.eval("return {big_number = '1\\r\\n+2'}", 0).echo("x").execute(), [b"1  +2", b"x"])

    def test_scripts_may_call_what_is_not_for_them_when_debug_says_so(self):
        client = self.client()
        call = ("return redis.call('debug', 'protocol', 'integer')", 0)
        self.assertRaisesRegex(redis.ResponseError, "not allowed from script", client.eval, *call)
        client.execute_command("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 1)
        self.assertEqual(client.eval(*call), 12345)
        client.execute_command("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 0)
        self.assertRaisesRegex(redis.ResponseError, "not allowed from script", client.eval, *call)

    def test_money_is_not_lost(self):
        client = self.client()
        client.mset({f"account:{i}": START for i in range(ACCOUNTS)})
        stop, problems = time.time() + SECONDS, []

        def move(seed):
            mine, rng = self.client(), random.Random(seed)
            while time.time() < stop:
                a, b = rng.sample(range(ACCOUNTS), 2)
                if rng.random() < 0.5:
                    mine.eval(DECLARED, 2, f"account:{a}", f"account:{b}", rng.randint(1, 9))
                else:
                    mine.eval(UNDECLARED, 0, rng.randint(1, 9), a, b)

        def add():
            mine = self.client()
            while time.time() < stop:
                total = sum(int(v) for v in mine.mget(*(f"account:{i}" for i in range(ACCOUNTS))))
                if total != ACCOUNTS * START:
                    problems.append(total)

        threads = [threading.Thread(target=move, args=(seed,)) for seed in range(8)]
        threads += [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


if __name__ == "__main__":
    unittest.main()
