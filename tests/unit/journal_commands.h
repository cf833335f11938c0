/* journal_commands.h: commands for journal_test.c, with places that the test fills in.
 *
 *     %s %l %z %h %t %x %b %g %p   a key of strings, lists, sorted sets, hashes, sets, streams,
 *                                  bits, places, HyperLogLogs; %k of any type
 *     %f a field or member    %v a value       %i a small integer   %n 1 … 4   %d a float
 *     %E seconds, %P milliseconds from now     %S, %A the same as points in time
 *     %I the id of an entry, maybe %D a payload of DUMP
 *     %G a group              %C a consumer    %W 0 or a short time to wait
 */
#pragma once

/* clang-format off */
static const char *const commands[] = {
    /* strings */
    "SET %s %v", "SET %s %v", "SET %s %i", "SET %s %v EX %E", "SET %s %v PX %P",
    "SET %s %v EXAT %S",
    "SET %s %v PXAT %A", "SET %s %v NX", "SET %s %v XX GET", "SET %s %v NX PX %P",
    "SET %s %v KEEPTTL",
    "SETNX %s %v", "SETEX %s %E %v", "PSETEX %s %P %v", "GETSET %s %v", "GETDEL %s",
    "GETEX %s", "GETEX %s PX %P", "GETEX %s EX %E", "GETEX %s PXAT %A", "GETEX %s PERSIST",
    "APPEND %s %v", "INCR %s", "DECR %s", "INCRBY %s %i", "DECRBY %s %i", "INCRBYFLOAT %s %d",
    "SETRANGE %s %n %v", "MSET %s %v %s %v %s %i", "MSETNX %s %v %s %v", "MSET %k %v",
    "LCS %s %s", "GET %s", "MGET %s %s %s",
    /* keys */
    "DEL %k", "DEL %k %k %k", "UNLINK %k %k", "EXPIRE %k %E", "PEXPIRE %k %P", "EXPIREAT %k %S",
    "PEXPIREAT %k %A", "PEXPIRE %k %P GT", "PEXPIRE %k %P NX", "PERSIST %k", "EXPIRE %k -1",
    "RENAME %s %s", "RENAME %l %l", "RENAME %h %h", "RENAME %x %x", "RENAMENX %z %z",
    "RENAMENX %t %t",
    "COPY %h %h REPLACE", "COPY %z %z", "COPY %x %x DB 1 REPLACE", "COPY %l %l DB 2 REPLACE",
    "MOVE %s 1", "MOVE %t 2", "MOVE %h 0", "TOUCH %k %k", "RANDOMKEY", "EXISTS %k",
    "RESTORE %s %P %D REPLACE", "RESTORE %s 0 %D REPLACE", "RESTORE %s %A %D REPLACE ABSTTL",
    "SORT %l ALPHA STORE %l", "SORT %t ALPHA LIMIT 0 3 STORE %l", "SORT %z ALPHA DESC STORE %l",
    /* bits */
    "SETBIT %b %i 1", "SETBIT %b 100 0", "SETBIT %b 37 1", "BITFIELD %b SET u8 #%n %i",
    "BITFIELD %b INCRBY i5 #%n %n OVERFLOW SAT INCRBY u4 #1 9 GET u8 0", "BITOP XOR %b %b %b",
    "BITOP NOT %b %b", "BITOP AND %b %b %b",
    /* HyperLogLogs */
    "PFADD %p %v %v", "PFADD %p %i %i %v", "PFADD %p %f", "PFCOUNT %p", "PFCOUNT %p %p",
    "PFMERGE %p %p %p",
    /* lists */
    "LPUSH %l %v %v", "RPUSH %l %v %i %v", "LPUSHX %l %v", "RPUSHX %l %v %v", "LPOP %l",
    "RPOP %l",
    "LPOP %l %n", "RPOP %l 2", "LPOP %l 0", "LSET %l %i %v", "LSET %l 0 %v",
    "LINSERT %l BEFORE %f %v",
    "LINSERT %l AFTER %f %v", "RPUSH %l %f %f %f", "LREM %l %i %f", "LREM %l 0 %f",
    "LTRIM %l 0 %n",
    "LTRIM %l -3 -1", "LTRIM %l 1 -2", "LMOVE %l %l LEFT RIGHT", "LMOVE %l %l RIGHT RIGHT",
    "RPOPLPUSH %l %l", "LMPOP 2 %l %l LEFT COUNT %n", "LMPOP 1 %l RIGHT",
    "BLPOP %l %l %W", "BRPOP %l %W", "BLMPOP %W 2 %l %l LEFT", "BLMOVE %l %l LEFT LEFT %W",
    "BRPOPLPUSH %l %l %W",
    /* sets */
    "SADD %t %i %i %i", "SADD %t %f %f %v", "SADD %t %f", "SREM %t %f %f", "SREM %t %i",
    "SPOP %t",
    "SPOP %t %n", "SPOP %t 100", "SMOVE %t %t %f", "SMOVE %t %t %i", "SINTERSTORE %t %t %t",
    "SUNIONSTORE %t %t %t", "SDIFFSTORE %t %t %t", "SRANDMEMBER %t 2",
    /* sorted sets */
    "ZADD %z %i %f %d %f", "ZADD %z NX %i %f", "ZADD %z XX CH %d %f", "ZADD %z GT %i %f",
    "ZADD %z INCR %d %f",
    "ZADD %z %i %v", "ZINCRBY %z %d %f", "ZREM %z %f %f", "ZPOPMIN %z", "ZPOPMAX %z %n",
    "ZREMRANGEBYRANK %z 0 1", "ZREMRANGEBYSCORE %z -5 %i", "ZREMRANGEBYLEX %z [f0 (f3",
    "ZRANGESTORE %z %z 0 3", "ZUNIONSTORE %z 2 %z %z WEIGHTS 2 3",
    "ZINTERSTORE %z 2 %z %z AGGREGATE MAX",
    "ZDIFFSTORE %z 2 %z %z", "ZMPOP 2 %z %z MIN COUNT %n", "ZMPOP 1 %z MAX", "BZPOPMIN %z %z %W",
    "BZPOPMAX %z %W", "BZMPOP %W 2 %z %z MAX",
    /* places */
    "GEOADD %g 13.361389 38.115556 %f 15.087269 37.502669 %f", "GEOADD %g NX 2.35 48.85 %f",
    "GEOADD %g 13.4 38.1 %v", "GEOSEARCHSTORE %g %g FROMLONLAT 15 37 BYRADIUS 200 km",
    "GEORADIUS %g 15 37 300 km STORE %g", "GEORADIUSBYMEMBER %g %f 300 km STOREDIST %z",
    /* hashes */
    "HSET %h %f %v", "HSET %h %f %v %f %i %f %v", "HMSET %h %f %i %f %v", "HSETNX %h %f %v",
    "HSET %h n1 1 n2 2.5", "HPEXPIRE %h 90000 FIELDS 2 n1 n2", "HDEL %h %f",
    "HDEL %h %f %f %f", "HINCRBY %h n%n %i", "HINCRBYFLOAT %h n%n %d", "HGETALL %h",
    "HGET %h %f",
    "HEXPIRE %h %E FIELDS 1 %f", "HPEXPIRE %h %P FIELDS 2 %f %f", "HEXPIREAT %h %S FIELDS 1 n%n",
    "HPEXPIREAT %h %A FIELDS 2 %f n%n", "HPEXPIRE %h %P GT FIELDS 1 %f",
    "HPERSIST %h FIELDS 2 %f %f",
    "HPEXPIRE %h %P FIELDS 1 n%n", "HPEXPIRE %h 0 FIELDS 2 %f %f", "HRANDFIELD %h 2", "HLEN %h",
    /* streams */
    "XADD %x * %f %v", "XADD %x * %f %v %f %i", "XADD %x %I %f %v",
    "XADD %x 9999999999999-* %f %v",
    "XADD %x NOMKSTREAM * %f %v", "XADD %x MAXLEN ~ 6 * %f %v", "XADD %x MAXLEN = 4 * %f %v",
    "XADD %x MINID ~ %I * %f %v", "XTRIM %x MAXLEN ~ 5", "XTRIM %x MAXLEN 3",
    "XTRIM %x MINID %I",
    "XDEL %x %I %I", "XSETID %x 9999999999999-99",
    "XSETID %x 9999999999999-999 ENTRIESADDED 50 MAXDELETEDID 1-1",
    "XGROUP CREATE %x %G $ MKSTREAM", "XGROUP CREATE %x %G 0",
    "XGROUP CREATE %x %G %I ENTRIESREAD 2",
    "XGROUP SETID %x %G 0", "XGROUP SETID %x %G $ ENTRIESREAD 3", "XGROUP DESTROY %x %G",
    "XGROUP CREATECONSUMER %x %G %C", "XGROUP DELCONSUMER %x %G %C",
    "XREADGROUP GROUP %G %C COUNT %n STREAMS %x >", "XREADGROUP GROUP %G %C STREAMS %x >",
    "XREADGROUP GROUP %G %C NOACK STREAMS %x >", "XREADGROUP GROUP %G %C STREAMS %x 0",
    "XREADGROUP GROUP %G %C COUNT 2 STREAMS %x %x > >", "XACK %x %G %I %I",
    "XCLAIM %x %G %C 0 %I %I",
    "XCLAIM %x %G %C 10 %I IDLE 5000 FORCE",
    "XCLAIM %x %G %C 0 %I TIME 12345 RETRYCOUNT 7 JUSTID FORCE",
    "XCLAIM %x %G %C 0 %I LASTID 99-1", "XAUTOCLAIM %x %G %C 0 0 COUNT 3",
    "XAUTOCLAIM %x %G %C 100 %I JUSTID",
};
/* What the random run may not come to. Each but the first has an effect. */
static const char *const rare[] = {
    "FLUSHALL", "XADD y 1-1 f v", "XADD y 1-2 f v", "XGROUP CREATE y G 0",
    "XGROUP CREATECONSUMER y G C", "XREADGROUP GROUP G D STREAMS y >", "XACK y G 1-1",
    "XCLAIM y G C 0 1-2", "XAUTOCLAIM y G D 0 0", "XGROUP DELCONSUMER y G C",
    "XGROUP SETID y G 0", "XGROUP DESTROY y G", "XDEL y 1-1", "XTRIM y MAXLEN 0", "XSETID y 9-9",
    "SET y 1 EX 100", "PERSIST y", "EXPIREAT y 1700000999", "PEXPIREAT y 1999999999999", "FLUSHDB",
    "PFADD y a", "PFDEBUG TODENSE y", "DEL y",
    "RPUSH y b c", "LINSERT y BEFORE b a", "LREM y 1 c", "DEL y", "SADD y a b", "SMOVE y w a",
    "DEL y", "ZADD y 1 a 1 b 1 c", "ZREMRANGEBYLEX y [b +", "ZPOPMIN y", "PFADD y a b", "PFCOUNT y",
    "DEL y", "HSET y f v", "HPEXPIREAT y 1999999999999 FIELDS 1 f", "HPERSIST y FIELDS 1 f", "FLUSHALL",
};
/* clang-format on */
