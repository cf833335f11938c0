/* lua_prelude.h: the part of the sandbox that is written in Lua.
 *
 *     prelude(is_yielding, is_held, redis, cjson, cmsgpack, struct, register_function)
 *         ─▶ the real globals, what scripts see, what libraries see, set_loading(on)
 *
 * Scripts see tables that are empty themselves and read through to the real ones, so that writing
 * to any field, new or old, comes to __newindex. KEYS and ARGV are put into the real globals.
 */
#pragma once

/* Lines, ended by NULL. */
extern const char *const lua_prelude[];
