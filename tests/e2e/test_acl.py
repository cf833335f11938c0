"""Users: files, restarts, clients, and connections that lose their rights."""

import os
import subprocess
import tempfile
import unittest

import redis

from case import Raw, ServerCase
from support import servers

NO_KEY = b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"


def lines(reply):
    return [line for line in reply.split(b"\r\n") if line.startswith(b"user")]


class Connections(ServerCase):
    ARGUMENTS = ("--threads", "3")

    def setUp(self):
        super().setUp()
        self.admin = self.raw()
        self.addCleanup(self.admin.command, "ACL", "DELUSER", "t", "u")

    def rule(self, user, *rules):
        self.assertEqual(self.admin.command("ACL", "SETUSER", user, *rules), b"+OK\r\n")

    def as_user(self, name):
        r = self.raw()
        self.assertEqual(r.command("AUTH", name, "x"), b"+OK\r\n")
        return r

    def test_connections_of_deleted_users_are_closed(self):
        self.rule("t", "on", "nopass", "+@all")
        self.rule("u", "on", "nopass", "+@all")
        many, others = [self.as_user("t") for _ in range(20)], [self.as_user("u") for _ in range(20)]
        self.assertEqual(self.admin.command("ACL", "DELUSER", "t", "nobody"), b":1\r\n")
        for r in many:
            self.assertEqual(r.rest(), b"")
        for r in others:
            self.assertEqual(r.command("PING"), b"+PONG\r\n")
        self.assertEqual(others[0].command("ACL", "DELUSER", "u"), b":1\r\n")
        self.assertEqual(others[0].rest(), b"")

    def test_a_user_of_the_same_name_is_another_user(self):
        self.rule("t", "on", "nopass", "+@all")
        old = self.as_user("t")
        self.admin.send(b"ACL DELUSER t\r\nACL SETUSER t on nopass +@all\r\n")
        self.assertEqual((self.admin.reply(), self.admin.reply()), (b":1\r\n", b"+OK\r\n"))
        self.assertEqual(old.rest(), b"")
        self.as_user("t")

    def test_subscribers_that_lose_a_channel_are_closed(self):
        self.rule("t", "on", "nopass", "+@all", "&*")
        one, pattern, sharded = self.as_user("t"), self.as_user("t"), self.as_user("t")
        one.command("SUBSCRIBE", "c1")
        pattern.command("PSUBSCRIBE", "c*")
        sharded.command("SSUBSCRIBE", "c1")
        self.rule("t", "resetchannels", "&c1")
        self.assertEqual(pattern.rest(), b"")
        self.assertEqual(one.command("PING")[:1], b"*")
        self.rule("t", "resetchannels", "&d")
        self.assertEqual((one.rest(), sharded.rest()), (b"", b""))

    def test_clients_can_be_closed_by_their_user(self):
        self.rule("t", "on", "nopass", "+@all")
        t = self.as_user("t")
        self.assertIn(b" user=t ", t.command("CLIENT", "INFO"))
        self.assertEqual(self.admin.command("CLIENT", "KILL", "USER", "t"), b":1\r\n")
        self.assertEqual(t.rest(), b"")

    def test_a_pipeline_obeys_the_change_in_its_middle(self):
        self.rule("t", "on", "nopass", "+@all", "~*")
        t = self.as_user("t")
        t.send(b"SET a 1\r\nACL SETUSER t resetkeys\r\nGET a\r\nACL SETUSER t allkeys\r\nGET a\r\n")
        self.assertEqual([t.reply() for _ in range(5)], [b"+OK\r\n", b"+OK\r\n", NO_KEY, b"+OK\r\n", b"$1\r\n1\r\n"])

    def test_changes_while_clients_work(self):
        self.rule("t", "on", "nopass", "+@all", "~*")
        workers = [self.as_user("t") for _ in range(8)]
        for i in range(60):
            for w in workers:
                w.send(b"SET k 1\r\nEVAL \"return redis.call('get','k')\" 0\r\n")
            self.rule("t", "-set" if i % 2 else "+set")
            for w in workers:
                self.assertIn(w.reply()[:3], (b"+OK", b"-NO"))
                self.assertEqual(w.reply(), b"$1\r\n1\r\n")

    def test_redis_py_and_redis_cli_log_in(self):
        self.rule("t", "on", ">secret", "+@all", "~t:*", "&*")
        c = self.client(username="t", password="secret")
        self.assertEqual(c.acl_whoami(), "t")
        c.set("t:a", 1)
        with self.assertRaises(redis.exceptions.NoPermissionError):
            c.set("a", 1)
        self.assertIn("NOPERM", self.tool("redis-cli", "--user", "t", "--pass", "secret", "get", "a", status=None))
        self.assertEqual(self.tool("redis-cli", "--no-auth-warning", "--user", "t", "-a", "secret", "get", "t:a").strip(), "1")
        self.assertTrue(c.acl_getuser("t")["enabled"])
        self.assertEqual(self.client().acl_log()[0]["object"], "a")


class Configured(servers.Server):
    """With a configuration file."""

    def __init__(self, path, directory):
        self.port, self.may_load = servers.free_port(), True
        command = [servers.shoal_binary(), path, "--port", str(self.port), "--dir", directory, "--save", ""]
        servers.Process.__init__(self, command, directory)
        self.wait_until_it_answers()


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="shoal-acl-")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.directory], check=False)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def start(self, *arguments):
        server = servers.shoal_server(*arguments, directory=self.directory)
        self.addCleanup(server.stop)
        return server, Raw(server.connect())

    def configure(self, path):
        server = Configured(path, self.directory)
        self.addCleanup(server.stop)
        return server, Raw(server.connect())

    def refused(self, *arguments):
        run = subprocess.run([servers.shoal_binary(), *arguments, "--port", "0"], capture_output=True, timeout=60, cwd=self.directory, check=False)
        self.assertEqual(run.returncode, 1)
        return (run.stdout + run.stderr).decode()

    def test_a_file_is_loaded_saved_and_loaded_again(self):
        path = self.write("users.acl", "user a on nopass ~* &* +@all\n\n  user b on >pw ~b +get (~c +set)  \n")
        server, r = self.start("--aclfile", "users.acl", "--requirepass", "ignored")
        self.assertEqual(r.command("ACL", "USERS"), b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$7\r\ndefault\r\n")
        a, b = Raw(server.connect()), Raw(server.connect())
        self.assertEqual((a.command("AUTH", "a", "x"), b.command("AUTH", "b", "pw")), (b"+OK\r\n", b"+OK\r\n"))
        r.command("ACL", "SETUSER", "b", "-get")
        r.command("ACL", "SETUSER", "c", "on")
        self.assertEqual(r.command("ACL", "SAVE"), b"+OK\r\n")
        with open(path, encoding="utf-8") as f:
            saved = f.read()
        self.assertIn("user b on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~b resetchannels -@all "
                      "(~c resetchannels -@all +set)\nuser c on", saved)
        self.write("users.acl", saved.replace("user c on", "user c off").replace("-@all (~c", "-@all +mget (~c"))
        self.assertEqual(r.command("ACL", "LOAD"), b"+OK\r\n")
        self.assertEqual(a.command("PING"), b"+PONG\r\n", "an unchanged user keeps its connections")
        self.assertEqual(b.rest(), b"")
        self.write("users.acl", "user x on +nosuch\nuser y ~* ~a\n")
        self.assertEqual(r.command("ACL", "LOAD"),
                         b"-ERR users.acl:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. users.acl:2: "
                         b"Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
                         b"'resetkeys' to start with an empty list of patterns. WARNING: ACL errors detected, no change to the previously "
                         b"active ACL rules was performed\r\n")
        self.assertEqual(r.command("ACL", "DRYRUN", "b", "MGET", "b"), b"+OK\r\n")
        self.assertIn("users.acl:1: Error in applying operation '+nosuch'", self.refused("--aclfile", "users.acl"))
        self.assertIn("nosuch.acl", self.refused("--aclfile", "nosuch.acl"))

    def test_lines_of_the_configuration_are_read_and_rewritten(self):
        path = self.write("redis.conf", "requirepass one\nuser a on >pw ~\"a\" +get (~b +set)\n# end\n")
        server, r = self.configure(path)
        self.assertEqual(r.command("AUTH", "one"), b"+OK\r\n")
        self.assertEqual(r.command("ACL", "DRYRUN", "a", "SET", "b", "1"), b"+OK\r\n")
        self.assertIn(b"not configured to use an ACL file", r.command("ACL", "SAVE"))
        r.command("ACL", "SETUSER", "c", "on", "nopass", "&c*", "(+@read ~c*)")
        r.command("CONFIG", "SET", "requirepass", "two")
        before = r.command("ACL", "LIST")
        self.assertEqual(r.command("CONFIG", "REWRITE"), b"+OK\r\n")
        server.stop()
        server, r = self.configure(path)
        self.assertEqual(r.command("AUTH", "two"), b"+OK\r\n")
        self.assertEqual(lines(r.command("ACL", "LIST").replace(b" sanitize-payload", b"")), lines(before))

    def test_lines_that_cannot_be_are_refused(self):
        self.assertIn("Error loading ACL rule '+nosuch' for the user named 'a'", self.refused(self.write("a.conf", "user a on +nosuch\n")))
        self.assertIn("Unmatched parenthesis", self.refused(self.write("b.conf", "user a on (+get\n")))
        self.write("users.acl", "")
        self.assertIn("but not both", self.refused(self.write("c.conf", "user a on\naclfile users.acl\n")))


if __name__ == "__main__":
    unittest.main()
