"""gen_script.py: scripts and functions: what they return, what they call, what the sandbox refuses, and how libraries are loaded.

What is left out differs on purpose (docs/COMPATIBILITY.md): the place of an error behind a tail call on another line, and keys that a script which has
proved modest touches undeclared after it has written. So random scripts are made anew each time, and those that come again behave always alike.
"""

import hashlib
import re

from support import rdb

GROUP = "script"
ALONE = True

# fmt: off
FIXED = [
    b"return 1",
    b"return KEYS",
    b"return {KEYS, ARGV, #KEYS, #ARGV}",
    b"return redis.call('get', KEYS[1])",
    b"return redis.call('set', KEYS[1], ARGV[1])",
    b"return redis.call('incrby', KEYS[1], ARGV[1])",
    b"for i, k in ipairs(KEYS) do redis.call('append', k, i) end return redis.call('mget', unpack(KEYS))",
    b"return redis.pcall('lpush', KEYS[1], unpack(ARGV))",
    b"#!lua\nreturn redis.call('get', KEYS[1])",
    b"#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
    b"#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)",
    b"#!lua flags=allow-oom,no-cluster,allow-stale\nreturn redis.call('set', KEYS[1], ARGV[1])",
    b"return foo(",
]

SHEBANGS = [b"#!lua\n", b"#!lua flags=no-writes\n", b"#!lua flags=allow-oom,no-writes\n", b"#!lua flags=\n", b"#!lua flags=x\n", b"#!lua x=y\n", b"#!lua name=a\n",
            b"#!LUA\n", b"#!js\n", b"#!\n", b"#!lua", b"#!lua 'flags=no-writes'\n", b"#!lua flags=no-writes\r\n", b"#!lua 'a\n", b"#!lua flags=allow-cross-slot-keys\n"]

# Expressions whose value is the reply.
VALUES = [
    b"nil", b"true", b"false", b"0", b"1", b"-1", b"3.99", b"-3.99", b"1e15", b"-1e15", b"2^53", b"2^62", b"2^63", b"-2^63", b"1e100", b"1/0", b"-1/0", b"0/0",
    b"''", b"'a'", b"'1.5'", b"('x'):rep(70)", b"'a\\r\\nb'", b"'\\0'", b"{}", b"{1, 2, 3}", b"{1, nil, 3}", b"{'a', {'b', {'c'}}}", b"{a = 1}", b"{1, a = 1}",
    b"{ok = 'fine'}", b"{ok = ''}", b"{ok = 'a\\r\\nb'}", b"{ok = 1}", b"{ok = true}", b"{ok = 'x', err = 'y'}", b"{err = 'ERR x'}", b"{err = 'x'}", b"{err = ''}",
    b"{err = 'MY a\\nb'}", b"{err = 1}", b"{err = {}}", b"{double = 3.5}", b"{double = 3}", b"{double = 1/0}", b"{double = '3'}", b"{map = {a = 1}}", b"{map = {}}", b"{map = {[1] = {2}}}",
    b"{map = 1}", b"{set = {a = true}}", b"{set = {}}", b"{big_number = '12345678901234567890'}", b"{big_number = 1}", b"{verbatim_string = {format = 'txt', string = 'x'}}",
    b"{verbatim_string = {format = 'markdown', string = ''}}", b"{{ok = 'a'}, {err = 'b'}, 'c'}", b"{true, false, 1}", b"function() end", b"redis.error_reply('x')",
    b"redis.error_reply('ERR x y')", b"redis.error_reply('-MY x')", b"redis.error_reply('MY x')", b"redis.error_reply('')", b"redis.status_reply('x')", b"redis.status_reply('')",
    b"redis.error_reply()", b"redis.error_reply(1)", b"redis.error_reply({})", b"redis.status_reply()", b"redis.status_reply('a', 'b')", b"redis.sha1hex('')", b"redis.sha1hex('abc')",
    b"redis.sha1hex(1.5)", b"redis.LOG_WARNING", b"redis.REPL_ALL", b"type(redis.REDIS_VERSION)", b"type(redis.REDIS_VERSION_NUM)", b"redis.replicate_commands()", b"redis.breakpoint()",
    b"tostring(1)", b"tostring(1.5)", b"tostring(1e15)", b"tostring(2^53)", b"tostring(1e100)", b"tostring(nil)", b"tonumber('0x10')", b"tonumber('10', 2)", b"tonumber('z', 36)",
    b"tonumber('')", b"tonumber('1e1')", b"tonumber(' 1 ')", b"tonumber({})", b"#'abc'", b"7 % 3", b"-7 % 3", b"7 / 2", b"2 ^ 10", b"10 == '10'", b"'10' + 5", b"1 .. 2", b"'a' < 'b'", b"not nil",
    b"math.floor(3.7)", b"math.ceil(-3.2)", b"math.max(1, 5, 3)", b"math.huge", b"math.pi", b"math.fmod(7, 3)", b"math.mod(7, 3)", b"select('#', 1, nil, nil)", b"(select(2, 'a', 'b'))",
    b"table.concat({1, 2, 'x'}, ',')", b"unpack({1, 2})", b"next({})", b"type(_G)", b"_VERSION", b"#KEYS", b"#ARGV", b"KEYS[1]", b"ARGV[1]", b"KEYS[9]", b"{KEYS, ARGV}",
    b"string.format('%5.2f|%d|%s|%q|%x', 3.14159, 42, 'hi', 'a\"b', 255)", b"('hello'):upper()", b"('abc'):byte(1, -1)", b"string.char(65, 66)", b"('abc'):rep(3)", b"('abcabc'):gsub('b', 'X')",
    b"('abc'):reverse()", b"('hello world'):match('(%w+) (%w+)')", b"('hello'):find('l')", b"('hello'):sub(-3)", b"('  x '):gsub('^%s+', '')", b"('abc'):len()", b"string.gfind ~= nil",
    b"('k=v'):gsub('(%w+)=(%w+)', '%2=%1')", b"('abc'):gsub('%w', {a = '1', b = true})", b"('abc'):gsub('%w', function(c) if c == 'b' then return 'X' end end)", b"('aaa'):gsub('a', 'b', 2)",
    b"('abc'):gsub('', '-')", b"('x'):gsub('x', '%%')", b"('hello world'):gsub('o', {o = 0})", b"('abc'):gsub('(a)(b)', function(x, y) return y .. x end)", b"('abc'):gsub('()b', '%1')",
    b"bit.band(0xff, 0x0f)", b"bit.bor(1, 2)", b"bit.bxor(5, 1)", b"bit.bnot(0)", b"bit.lshift(1, 31)", b"bit.lshift(1, 32)", b"bit.rshift(-1, 1)", b"bit.arshift(-8, 1)", b"bit.tohex(255)", b"bit.tohex(-1, 4)",
    b"bit.tohex(255, -8)", b"bit.rol(0x12345678, 12)", b"bit.ror(0x12345678, 12)", b"bit.bswap(0x12345678)", b"bit.tobit(0xffffffff)", b"bit.tobit(2^40 + 5)", b"bit.band(1.5, 3)", b"bit.band('7', 3)",
    b"cjson.encode(1)", b"cjson.encode(1.5)", b"cjson.encode(1e15)", b"cjson.encode(2^53)", b"cjson.encode('a\"\\\\\\n\\0/')", b"cjson.encode({})", b"cjson.encode({1, 2, {3}})", b"cjson.encode({a = {b = 1}})",
    b"cjson.encode(nil)", b"cjson.encode(true)", b"cjson.encode(cjson.null)", b"cjson.encode({1, nil, 3})", b"cjson.encode({[1] = 1, [3] = 3})", b"cjson.encode({[1000] = 1})", b"cjson.encode({['1'] = 1})",
    b"cjson.encode({[1.5] = 1})", b"cjson.encode('\\195\\169\\127\\001')", b"cjson.encode(0.1)", b"cjson.decode('[1,2,[3,{\"a\":null}]]')", b"cjson.decode('1e3')", b"cjson.decode('\"\\\\u00e9\\\\n\"')",
    b"cjson.decode('\"\\\\ud83d\\\\ude00\"')", b"cjson.decode('{\"a\":{\"b\":[true,false]}}').a.b", b"cjson.decode('null') == cjson.null", b"cjson.decode(' [ ] ')", b"cjson.decode('0x10')", b"cjson.decode('1')",
    b"cjson.encode(cjson.decode('[1.0,1e2,12345678901234567890,0.1]'))", b"cjson.encode(cjson.decode('{\"k\":[]}'))", b"cjson.encode({a = cjson.null})", b"cjson.decode('[1]')[1]",
    b"cmsgpack.pack(1)", b"cmsgpack.pack(-1)", b"cmsgpack.pack(127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296)", b"cmsgpack.pack(-32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649)", b"cmsgpack.pack(1.5)",
    b"cmsgpack.pack(0.1)", b"cmsgpack.pack('a')", b"cmsgpack.pack(('x'):rep(40))", b"cmsgpack.pack(nil)", b"cmsgpack.pack(true, false)", b"cmsgpack.pack({1, 2, 3})", b"cmsgpack.pack({a = 1})", b"cmsgpack.pack({})", b"cmsgpack.pack({{1}, {b = {}}})",
    b"cmsgpack.unpack(cmsgpack.pack({1, 'a', {true}}))", b"cmsgpack.unpack('\\147\\001\\002\\003')", b"{cmsgpack.unpack('\\001\\002\\003')}", b"{cmsgpack.unpack_one('\\001\\002', 0)}", b"{cmsgpack.unpack_limit('\\001\\002\\003', 2, 0)}",
    b"cmsgpack.unpack('\\202\\063\\192\\000\\000')", b"cmsgpack.unpack('\\161x')", b"cmsgpack.unpack('\\207\\000\\000\\000\\001\\000\\000\\000\\000')", b"cmsgpack.unpack('\\211\\255\\255\\255\\255\\255\\255\\255\\255')",
    b"struct.pack('>I2', 258)", b"struct.pack('<i4', -2)", b"struct.pack('b', 127)", b"struct.pack('s', 'abc')", b"struct.pack('c3', 'abcdef')", b"struct.pack('!4bi4', 1, 2)", b"struct.pack('>d', 1.5)", b"struct.pack('<f', 0.5)",
    b"struct.pack('Bc0', 3, 'abc')", b"struct.size('!8bd')", b"struct.size('i4')", b"{struct.unpack('>I2', '\\1\\2')}", b"{struct.unpack('<i4B', '\\255\\255\\255\\255\\7')}", b"{struct.unpack('s', 'abc\\0def')}", b"{struct.unpack('Bc0', '\\3abc')}",
    b"{struct.unpack('<h', '\\1\\2\\3', 2)}", b"struct.pack('>l', 5)", b"struct.pack('>L', 2^64)", b"struct.pack('>L', -2^64)", b"struct.pack('<i4', 0/0)", b"struct.pack('>L', 5)", b"struct.pack('i3', 1)", b"struct.pack('xB', 1)",
    b"{pcall(error)}", b"{pcall(error, 'x')}", b"{pcall(error, {err = 'ERR q'})}", b"{pcall(error, 'x', 0)}", b"{pcall(function() return 1, 2 end)}", b"{pcall(redis.call, 'get')}", b"{pcall(redis.call, 'nosuch', 'x')}",
    b"{xpcall(function() error('q', 0) end, function(m) return 'got ' .. m end)}", b"loadstring('return 5')()", b"{loadstring('return +')}", b"load(function() end) ~= nil", b"{pcall(coroutine.wrap(function() error('c', 0) end))}",
    b"coroutine.wrap(function() coroutine.yield(1) end)()", b"{coroutine.resume(coroutine.create(function(...) return ... end), 1, 2)}", b"coroutine.status(coroutine.create(function() end))",
    b"table.remove({1, 2, 3})", b"table.getn({1, 2})", b"table.maxn({1, 2})", b"(function(t) table.sort(t) return t end)({3, 1, 2})", b"(function(t) table.sort(t, function(a, b) return a > b end) return t end)({3, 1, 2, 2, 9, 4})",
    b"(function(t) table.insert(t, 1, 'x') return t end)({1})", b"(function() local s = 0 for i = 10, 1, -3 do s = s + i end return s end)()", b"rawequal('a', 'a')", b"rawget({a = 5}, 'a')", b"type(collectgarbage('count'))",
    b"redis.acl_check_cmd('get', 'x')", b"redis.set_repl(redis.REPL_ALL)", b"redis.log(redis.LOG_DEBUG, 'x')", b"type(redis.call)", b"redis.foo", b"getmetatable('').__index == string", b"getmetatable({})", b"math.random(1, 1)",
    b"type(getmetatable(_G))", b"type(getmetatable(_G).__index)", b"getmetatable(redis)", b"(function() math.randomseed(77) return {math.random(1000), math.random(5, 9), tostring(math.random())} end)()", b"(function() math.randomseed(-1) return math.random(1000000) end)()",
    b"(function(c) return {c.encode_max_depth(3), c.encode({{{}}}), {pcall(c.encode, {{{{}}}})}} end)(cjson.new())", b"(function(c) c.decode_max_depth(2) return {c.encode(c.decode('[[1]]')), {pcall(c.decode, '[[[1]]]')}} end)(cjson.new())",
    b"(function(c) return {c.encode_number_precision(3), c.encode(1/3), {pcall(c.encode_number_precision, 15)}, {pcall(c.encode_number_precision, 'x')}} end)(cjson.new())",
    b"(function(c) return {{c.encode_sparse_array(true, 3, 2)}, c.encode({[9] = 1}), c.encode({1, [3] = 2}), {pcall(c.encode_sparse_array, 'x')}, {pcall(c.encode_sparse_array, nil, -1)}, {pcall(c.encode_sparse_array, 1, 2, 3, 4)}} end)(cjson.new())",
    b"(function(c) return {c.encode_invalid_numbers('null'), c.encode({0/0, 1/0}), c.encode_invalid_numbers(true), c.encode({0/0, -1/0}), c.encode_keep_buffer(false)} end)(cjson.new())",
    b"(function(c) c.decode_invalid_numbers(false) return {{pcall(c.decode, '[nan]')}, {pcall(c.decode, '[0x1]')}, {pcall(c.decode, '[-01]')}, {pcall(c.decode, '[+1]')}, c.encode(c.decode('[-0.5,0,10e1]'))} end)(cjson.new())",
    b"{big_number = '1\\r\\n2'}", b"{verbatim_string = {format = 'a', string = 'b'}}", b"{verbatim_string = {string = 'b'}}", b"{verbatim_string = {format = 'txt'}}",
]

# Statements that go wrong.
FAULTS = [
    b"error('boom')", b"error({err = 'MY oops'})", b"error({err = 'oops'})", b"error()", b"error(nil)", b"error('x', 0)", b"local x = nil; x.y = 1", b"local x = nil; local z = x.y", b"nosuch()", b"local y = nosuch",
    b"y = 1", b"redis.x = 1", b"string.x = 1", b"cjson.x = nil", b"_G.z = 1", b"KEYS.x = 1", b"rawset(_G, 'q', 1)", b"setmetatable(_G, {})", b"setmetatable(redis, nil)", b"getmetatable('').__index = 1", b"rawset(getmetatable(''), 'x', 1)", b"table.insert(string, 1)", b"table.insert(_G, 1)", b"table.insert({{}})", b"table.insert({{}}, 1, 2, 3)", b"table.insert({{}}, 'x', 1)", b"table.insert()", b"local x = {} + 1", b"local x = 1 < 'a'", b"local x = {} < {}", b"local x = #5",
    b"local x = 'a' .. {}", b"local x = -{}", b"local x = ('x')()", b"local x = redis.call()", b"local x = redis.call({})", b"local x = redis.call('get', {})", b"local x = redis.call('get', nil)", b"local x = redis.call(true)", b"local x = redis.call('nosuch')",
    b"local x = redis.call('get')", b"local x = redis.call('multi')", b"local x = redis.call('eval', 'return 1', 0)", b"local x = redis.call('subscribe', 'a')", b"local x = redis.call('script', 'flush')", b"local x = redis.call('fcall', 'a', 0)",
    b"local x = redis.call('function', 'list')", b"local x = redis.call('config', 'get', 'x')", b"local x = redis.setresp(4)", b"local x = redis.setresp()", b"local x = redis.log(1)", b"local x = redis.log('a', 'b')", b"local x = redis.log(9, 'b')",
    b"local x = redis.sha1hex()", b"local x = redis.set_repl(77)", b"local x = redis.acl_check_cmd('nosuch')", b"local x = redis.acl_check_cmd()", b"local x = cjson.decode('{')", b"local x = cjson.decode('')", b"local x = cjson.decode('[1,]')", b"local x = cjson.decode('nul')",
    b"local x = cjson.decode('\"\\\\x\"')", b"local x = cjson.decode('[1')", b"local x = cjson.decode()", b"local x = cjson.decode({})", b"local x = cjson.encode()", b"local x = cjson.encode(function() end)", b"local x = cjson.encode(1/0)", b"local x = cjson.encode({[true] = 1})",
    b"local x = cmsgpack.unpack('\\193')", b"local x = cmsgpack.unpack('\\147\\001')", b"local x = cmsgpack.unpack()", b"local x = cmsgpack.pack()", b"local x = cmsgpack.unpack_limit('\\1', -1)", b"local x = struct.pack('z')", b"local x = struct.pack('i4')",
    b"local x = struct.unpack('i4', 'abc')", b"local x = struct.pack('i99', 1)", b"local x = struct.unpack('c0', 'a')", b"local x = bit.band()", b"local x = bit.band('x')", b"local x = bit.tohex({})", b"local x = math.random(0)", b"local x = tonumber()", b"local x = ('x'):rep({})",
    b"local x = string.rep()", b"local x = table.concat({{}})", b"local x = table.insert(1, 2)", b"local x = setmetatable(1, {})", b"local x = unpack(1)", b"local x = ('x'):gsub('(', 'y')", b"local x = ('x'):gsub('x', '%2')", b"local x = string.format('%d', 'x')", b"local x = string.char(256)",
    b"assert(false)", b"assert(nil, 'because')", b"print('x')", b"local x = os.time()", b"local x = io.open", b"require('x')", b"dofile('x')", b"loadfile('x')", b"local x = debug", b"local x = package", b"getfenv()", b"setfenv(1, {})", b"newproxy()", b"module('x')",
    b"return redis.error_reply('MY tail')", b"for i = 1, 'x' do end", b"local t = setmetatable({}, {__index = function(t, k) error('idx ' .. k, 0) end}) local x = t.foo", b"('abc'):gsub('%w', function() error('inner', 0) end)",
    b"table.sort({3, 2, 1}, function(a, b) error('cmp', 0) end)", b"goto_x = 1", b"local function f() error('deep') end f()", b"local f = function() local x = redis.call('lpush', KEYS[1]) end f()",
]

CALLS = [
    "'get', K", "'set', K, V", "'set', K, V, 'nx'", "'incr', K", "'incrbyfloat', K, 1.5", "'append', K, V", "'del', K", "'exists', K, K", "'type', K", "'lpush', K, V, V", "'rpush', K, V", "'lrange', K, 0, -1", "'lpop', K", "'llen', K",
    "'sadd', K, 'v'", "'sismember', K, V", "'scard', K", "'zadd', K, 1.5, V", "'zscore', K, V", "'zrange', K, 0, -1, 'withscores'", "'zincrby', K, 2.25, V", "'hset', K, V, V", "'hget', K, V", "'hmget', K, 'a', 'b'", "'hlen', K", "'expire', K, 1000", "'persist', K",
    "'mget', K, K, K", "'mset', K, V, K, V", "'rename', K, K", "'copy', K, K, 'replace'", "'smove', K, K, V", "'lmove', K, K, 'left', 'right'", "'rpoplpush', K, K", "'sinterstore', K, K, K", "'setrange', K, 2, V", "'strlen', K", "'getrange', K, 0, 2",
    "'ping'", "'echo', V", "'dbsize'", "'select', 1", "'select', 99", "'hlen', K", "'scard', K", "'config', 'get', 'maxmemory'", "'publish', 'c', V", "'ttl', K", "'blpop', K, 0", "'bzpopmin', K, 0", "'setex', K, 0, V", "'time', 1", "'wait', 0, 0", "'xadd', K, '1-*', 'a', V",
    "'xlen', K", "'pfadd', K, V", "'pfcount', K", "'setbit', K, 7, 1", "'bitcount', K", "'bitop', 'or', K, K, K", "'unlink', K", "'touch', K", "'zpopmin', K", "'geoadd', K, 13, 38, 'm'", "'geopos', K, 'm'", "'flushdb'", "'lpos', K, V", "'SET', K, 3.0", "'set', K, 1e15", "'set', K, 2^53", "'set', K, 0.1",
]

LIBRARIES = [
    b"#!lua name=fixed\nlocal function first(keys) return keys[1] end\nredis.register_function('echo_all', function(keys, args) return {keys, args} end)\nredis.register_function{function_name='get_ro', callback=function(keys) return redis.call('get', first(keys)) end, flags={'no-writes'}}\nredis.register_function('put', function(keys, args) return redis.call('set', keys[1], args[1]) end)\nredis.register_function{function_name='bad_ro', callback=function(keys) return redis.call('set', keys[1], 1) end, flags={'no-writes', 'allow-stale'}, description='writes, but may not'}\nredis.register_function('fault', function(keys, args) local x = nil\nreturn x.y end)\nredis.register_function('glob', function(keys, args) return KEYS end)\nredis.register_function('err', function(keys, args) return redis.error_reply(args[1] or 'ERR none') end)",
    b"#!lua name=other\nlocal count = 0\nredis.register_function('sum', function(keys, args) local s = 0 for _, v in ipairs(args) do s = s + #v end return s end)\nredis.register_function{function_name='oom', callback=function(keys) return redis.call('incr', keys[1]) end, flags={'allow-oom', 'no-cluster', 'allow-cross-slot-keys'}}",
]
RESTORED = b"#!lua name=n1\nredis.register_function('x', function() return 'restored' end)"
LOADING = [
    b"return 1", b"", b"error('x')", b"foo bar", b"redis.call('ping')", b"x = 1", b"local y = nosuch", b"redis.x = 1", b"local t = pairs", b"redis.register_function()", b"redis.register_function('a')", b"redis.register_function(1)", b"redis.register_function('a', 1)",
    b"redis.register_function({}, 1)", b"redis.register_function(5, function() return 5 end)", b"redis.register_function('a b', function() end)", b"redis.register_function('', function() end)", b"redis.register_function{}", b"redis.register_function{function_name=1}", b"redis.register_function{function_name='x'}",
    b"redis.register_function{callback=function() end}", b"redis.register_function{function_name='x', callback=function() end}", b"redis.register_function{function_name='x', callback=function() end, foo=1}", b"redis.register_function{function_name='x', callback=function() end, flags=1}",
    b"redis.register_function{function_name='x', callback=function() end, flags={'foo'}}", b"redis.register_function{function_name='x', callback=function() end, flags={}}", b"redis.register_function{function_name='x', callback=1}", b"redis.register_function{function_name={}, callback=function() end}",
    b"redis.register_function{FUNCTION_NAME='x', Callback=function() return 'upper' end, DESCRIPTION='d', Flags={'no-writes'}}", b"redis.register_function{function_name='x', callback=function() end, description={}}", b"redis.register_function('x', function() return 1 end) redis.register_function('x', function() end)",
    b"redis.register_function('x', function(k, a) return #k + #a end)", b"redis.register_function('y', function() return {double=1.5} end)", b"redis.register_function('x', redis.log)", b"redis.register_function('x', redis.register_function)", b"local r = redis redis.register_function('x', function() return r.register_function('z', function() end) end)",
    b"redis.register_function('sum', function() return 'mine' end)", b"redis.register_function('SUM', function() return 'MINE' end)", b"redis.register_function('x', function() return redis.call('get', 'nokey') end)", b"local n = 0 redis.register_function('x', function() return n end) n = 7", b"redis.log(redis.LOG_DEBUG, 'x') redis.register_function('x', function() return type(_G) end)",
    b"redis.log(1)", b"local s = ('x'):rep(3) redis.register_function(s, function() return s end)", b"redis.register_function('x', function() return loadstring('return type(redis)')() end)",
]
HEADS = [b"#!lua name=n1\n"] * 8 + [b"#!lua name=n2\n"] * 4 + [b"#!lua\n", b"#!lua name=\n", b"#!lua name=a-b\n", b"#!lua name=n1 name=n2\n", b"#!lua name=n1 x=y\n", b"#!js name=n1\n", b"#!LUA NAME=n1\n", b"#! lua name=n1\n", b"#!lua name='n1'\n", b"#!lua name=\"n1\n", b"", b"#!lua name=n1", b"#!lua name=other\n"]

COMMANDS = [
    "6 EVAL valuescript 0",
    "6 EVAL valuescript 1 key word",
    "4 EVAL valuescript 2 key key value value",
    "5 EVAL faultscript 1 key",
    "9 EVAL callscript numkeys key key key value value",
    "3 EVAL_RO callscript numkeys key key key value value",
    "2 EVAL_RO valuescript 0",
    "3 EVAL shebangscript 1 key value",
    "1 EVAL_RO shebangscript 1 key value",
    "2 EVAL fixedscript numkeys key key value",
    "3 EVALSHA sha numkeys key key value",
    "1 EVALSHA_RO sha numkeys key key value",
    "2 SCRIPT LOAD fixedscript",
    "1 SCRIPT LOAD valuescript",
    "1 SCRIPT EXISTS sha+",
    "0.3 SCRIPT FLUSH [{SYNC|ASYNC|junk}]",
    "0.3 SCRIPT KILL",
    "0.3 SCRIPT {HELP|JUNK}",
    "4 FUNCTION LOAD [REPLACE] library",
    "1 FUNCTION LOAD REPLACE fixedlibrary",
    "0.5 FUNCTION DELETE libraryname",
    "0.2 FUNCTION FLUSH [{SYNC|ASYNC|junk}]",
    "2 FUNCTION LIST [LIBRARYNAME librarypattern] [WITHCODE]",
    "0.5 FUNCTION LIST {LIBRARYNAME|WITHCODE|libraryname}*",
    "1 FUNCTION DUMP",
    "2 FUNCTION RESTORE functionpayload [{FLUSH|APPEND|REPLACE|junk}]",
    "1 FUNCTION RESTORE bigpayload FLUSH",
    "0.5 FUNCTION STATS",
    "0.3 FUNCTION KILL",
    "0.2 FUNCTION {HELP|JUNK}",
    "8 FCALL function numkeys key key value value",
    "3 FCALL_RO function numkeys key key value value",
    "2 SET key value",
    "1 GET key",
    "1 RPUSH key value",
    "1 HSET key value value",
    "1 DEL key",
    "0.5 SELECT db",
]
# fmt: on


def lua_string(data):
    return b"'" + b"".join(b"\\%03d" % c if c < 32 or c > 126 or c in b"'\\" else bytes((c,)) for c in data) + b"'"


def expression(rng):
    roll = rng.random()
    if roll < 0.75:
        return rng.choice(VALUES)
    if roll < 0.9:
        return b"{" + b", ".join(expression(rng) for _ in range(rng.randrange(4))) + b"}"
    return b"'" + b"x" * rng.choice((0, 10, 100, 2000)) + b"'"


def valuescript(rng):
    """A value, now and then after setresp. Multiple values and tail calls go through a local."""
    head = rng.choice((b"", b"", b"", b"redis.setresp(3) ", b"redis.setresp(2) "))
    return head + b"local x = " + expression(rng) + b" return x"


def faultscript(rng):
    fault = rng.choice(FAULTS)
    roll = rng.random()
    if roll < 0.5:
        return fault
    if roll < 0.7:
        return b"local a = 1\nlocal b = 2\n" + fault
    if roll < 0.9:
        return b"local r = {pcall(function() " + fault + b" end)} return {type(r[1]), r[2]}"
    return b"redis.call('set', KEYS[1], 'before') " + fault


CALL_FORMS = (b"r[#r + 1] = %b", b"r[#r + 1] = %b", b"local ok, e = pcall(function() return %b end) r[#r + 1] = type(e)",
              b"r[#r + 1] = type(%b)")


def call(rng, keys):
    """Of keys that are declared, or not."""
    text = re.sub(rb"\bK\b", lambda _: rng.choice(keys), rng.choice(CALLS).encode())
    text = re.sub(rb"\bV\b", lambda _: rng.choice((b"ARGV[1]", b"ARGV[2]", b"'v'", b"7", b"1.25", b"''")), text)
    return rng.choice((b"redis.call(", b"redis.call(", b"redis.pcall(")) + text + b")"


def callscript(rng):
    """Some commands, then their replies. The number makes the text a new one: no script proves modest."""
    keys = [b"KEYS[1]", b"KEYS[2]", b"KEYS[1]"] + ([b"'undeclared1'", b"'k1'"] if rng.random() < 0.3 else [])
    lines = [b"-- %d\nlocal r = {}" % rng.randrange(1 << 30)]
    if rng.random() < 0.3:
        lines.append(b"redis.setresp(3)")
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        one = call(rng, keys)
        form = rng.choice(CALL_FORMS)
        lines.append(form % one)
    return b"\n".join(lines) + b"\nreturn r"


def library(rng):
    return rng.choice(HEADS) + rng.choice(LOADING)


def bigpayload(rng):
    """Some libraries together: which of several that are in the way is named first depends on a hash seed, so there is nothing in the way."""
    codes = rng.sample((*LIBRARIES, RESTORED, library(rng)), rng.randrange(1, 4))
    return rdb.payload(b"".join(b"\xf5" + rdb.string(code) for code in codes))


def functionpayload(rng):
    code = rng.choice((*LIBRARIES, RESTORED, library(rng)))
    records = b"\xf5" + rdb.string(code) if rng.random() < 0.9 else b""
    roll = rng.random()
    if roll < 0.75:
        return rdb.payload(records)
    return rng.choice((b"", b"x", rdb.payload(records)[:-1], rdb.payload(records, 99), rdb.payload(b"\x00\x01a"), rdb.payload(b"\xf5" + rdb.string(b"junk"))))


ARGUMENTS = {
    "valuescript": valuescript,
    "faultscript": faultscript,
    "callscript": callscript,
    "shebangscript": lambda rng: rng.choice(SHEBANGS) + callscript(rng),
    "fixedscript": lambda rng: rng.choice(FIXED),
    "sha": lambda rng: rng.choice((b"x", b"0" * 40, hashlib.sha1(rng.choice(FIXED)).hexdigest().upper().encode())) if rng.random() < 0.2
    else hashlib.sha1(rng.choice(FIXED)).hexdigest().encode(),
    "numkeys": lambda rng: rng.choice((b"2", b"2", b"2", b"3", b"1", b"0", b"5", b"9", b"-1", b"x", b"", b"1.0", b"99999999999999999999")),
    "library": library,
    "fixedlibrary": lambda rng: rng.choice(LIBRARIES),
    "libraryname": lambda rng: rng.choice((b"fixed", b"other", b"n1", b"n2", b"N1", b"", b"nosuch")),
    "librarypattern": lambda rng: rng.choice((b"*", b"n*", b"N[12]", b"fixed", b"", b"?1")),
    "functionpayload": functionpayload,
    "bigpayload": bigpayload,
    "function": lambda rng: rng.choice(b"echo_all get_ro put bad_ro fault glob err sum SUM oom x X y 5 xxx nosuch".split(b" ") + [b""]),
}

PRELUDE = [[b"FUNCTION", b"LOAD", b"REPLACE", code] for code in LIBRARIES] + [[b"SCRIPT", b"LOAD", s] for s in FIXED[:-1]]
READERS = {}


def is_unsafe(argv):
    """Damage may make a script of bytes that are letters to LuaJIT only, or let one of several libraries be in the way."""
    is_script = argv[0].upper().startswith((b"EVAL", b"SCRIPT"))
    is_loose = len(argv) > 2 and argv[1].upper() == b"RESTORE" and argv[2].count(b"#!") > 1 and [a.upper() for a in argv[3:]] != [b"FLUSH"]
    return is_loose or is_script and any(c > 126 for a in argv[1:3] for c in a)


# fmt: off
FULL = "#!lua name=full\\nredis.register_function('wr', function(k) return redis.call('set', k[1], 1) end) redis.register_function{function_name='ao', callback=function(k) return redis.call('set', k[1], 1) end, flags={'allow-oom'}}"
SCRIPTS = [
    (version, [f'FUNCTION LOAD REPLACE "{FULL}"', "CONFIG SET maxmemory 1", "EVAL \"return redis.call('set', 'a', 1)\" 0", "EVAL \"return redis.pcall('set', 'a', 1)\" 0", "EVAL \"return redis.call('get', 'a')\" 0", "EVAL \"redis.call('del', 'a') return redis.call('set', 'a', 1)\" 0",
               "EVAL \"#!lua\\nreturn 1\" 0", "EVAL \"#!lua flags=allow-oom\\nreturn redis.call('set', 'a', 1)\" 0", "EVAL \"#!lua flags=no-writes\\nreturn redis.call('get', 'a')\" 0", "FCALL wr 1 a", "FCALL ao 1 a", "FCALL_RO wr 1 a", "FUNCTION LOAD \"#!lua name=q\\nreturn 1\"", "FUNCTION RESTORE x",
               "FUNCTION DELETE full", "CONFIG SET maxmemory 0", "DEL a"])
    for version in (2, 3)
]
# fmt: on
