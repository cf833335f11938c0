#include "server/library_load.h"

#include <criterion/criterion.h>

#include "server/lua_vm.h"

static struct functions f;
static struct lua_vm vm;
static struct mem mem;
static struct buf error;

static void start(void)
{
    mem_init(&mem, "test");
    error.mem = &mem;
    vm = (struct lua_vm){0};
    cr_assert(lua_vm_try_init(&vm, NULL));
    functions_init(&f);
}

static void stop(void)
{
    buf_clear(&error);
    functions_deinit(&f);
    lua_vm_deinit(&vm);
    mem_deinit(&mem);
}

TestSuite(library, .init = start, .fini = stop);

/* NULL: it is loaded. */
static const char *load(const char *code, bool may_replace)
{
    struct library *l;
    error.size = 0;
    bool ok = functions_load(&f, &vm, bytes_of(code), may_replace, &l, &error);
    if (ok) library_unref(l);
    buf_append(&error, "", 1);
    return ok ? NULL : error.data;
}

#define ONE(library, function)                                                                     \
    "#!lua name=" library "\nredis.register_function('" function "', function() return 1 end)"

static void expect_counts(uint32_t libraries, uint32_t functions)
{
    struct library_set *set = functions_take(&f);
    cr_assert_eq(set->library_count, libraries);
    cr_assert_eq(set->function_count, functions);
    cr_assert_eq(atomic_load(&f.library_count), libraries);
    cr_assert_eq(atomic_load(&f.function_count), functions);
    library_set_unref(&f, set);
}

static bool has_function(const char *name)
{
    struct library_set *set = functions_take(&f);
    bool has = library_set_find_function(set, bytes_of(name)) != NULL;
    library_set_unref(&f, set);
    return has;
}

Test(library, functions_are_found_whatever_the_case_of_their_names)
{
    cr_assert_null(load(ONE("lib", "Some"), false));
    cr_assert(has_function("some"));
    cr_assert(has_function("SOME"));
    cr_assert_not(has_function("som"));
    cr_assert_not(has_function(""));
}

Test(library, a_library_that_is_there_is_replaced_only_when_that_is_asked_for)
{
    cr_assert_null(load(ONE("lib", "one"), false));
    cr_assert_str_eq(load(ONE("lib", "two"), false), "ERR Library 'lib' already exists");
    cr_assert(has_function("one"));
    cr_assert_null(load(ONE("lib", "two"), true));
    cr_assert_not(has_function("one"));
    cr_assert(has_function("two"));
    expect_counts(1, 1);
}

Test(library, a_function_of_another_library_is_never_replaced)
{
    cr_assert_null(load(ONE("lib", "one"), false));
    cr_assert_str_eq(load(ONE("other", "ONE"), true), "ERR Function ONE already exists");
    expect_counts(1, 1);
}

Test(library, what_does_not_load_changes_nothing)
{
    cr_assert_null(load(ONE("lib", "one"), false));
    uint64_t version = atomic_load(&f.version);
    cr_assert_str_eq(load("#!lua name=lib\nreturn 1", true), "ERR No functions registered");
    cr_assert_str_eq(load("return 1", true), "ERR Missing library metadata");
    cr_assert_str_eq(load("#!lua", true), "ERR Invalid library metadata");
    cr_assert_str_eq(load("#!lua\n", true), "ERR Library name was not given");
    cr_assert_str_eq(load("#!js name=x\n", true), "ERR Engine 'js' not found");
    cr_assert_str_eq(load("#!lua name=lib\nlocal x = pairs", true),
                     "ERR Error registering functions: ERR user_function:2: Script attempted to "
                     "access nonexistent global variable 'pairs'");
    cr_assert_eq(atomic_load(&f.version), version);
    expect_counts(1, 1);
}

Test(library, a_loading_phase_that_does_not_end_is_ended)
{
    cr_assert_str_eq(load("#!lua name=x\nwhile true do end", false),
                     "ERR Error registering functions: ERR FUNCTION LOAD timeout");
    cr_assert_null(load(ONE("lib", "one"), false));
}

Test(library, a_set_that_is_held_stays_as_it_was)
{
    cr_assert_null(load(ONE("lib", "one"), false));
    struct library_set *set = functions_take(&f);
    cr_assert(functions_flush(&f));
    cr_assert_eq(set->library_count, 1);
    cr_assert(bytes_equal(set->libraries[0]->name, bytes_of("lib")));
    cr_assert_not_null(library_set_find_function(set, bytes_of("one")));
    library_set_unref(&f, set);
    expect_counts(0, 0);
}

Test(library, a_thread_sees_a_change_at_its_next_look)
{
    struct library_set *set = NULL;
    uint64_t version = 0;
    functions_refresh(&f, &set, &version);
    cr_assert_eq(set->library_count, 0);
    struct library_set *before = set;
    functions_refresh(&f, &set, &version);
    cr_assert_eq(set, before);
    cr_assert_null(load(ONE("lib", "one"), false));
    functions_refresh(&f, &set, &version);
    cr_assert_eq(set->library_count, 1);
    library_set_unref(&f, set);
}

Test(library, libraries_stand_in_the_order_of_their_names_and_can_be_deleted)
{
    cr_assert_null(load(ONE("b", "one"), false));
    cr_assert_null(load(ONE("a", "two"), false));
    cr_assert_null(load(ONE("c", "three"), false));
    error.size = 0;
    cr_assert(functions_delete(&f, bytes_of("b"), &error));
    cr_assert_not(functions_delete(&f, bytes_of("b"), &error));
    struct library_set *set = functions_take(&f);
    cr_assert(bytes_equal(set->libraries[0]->name, bytes_of("a")));
    cr_assert(bytes_equal(set->libraries[1]->name, bytes_of("c")));
    library_set_unref(&f, set);
    cr_assert_not(has_function("one"));
}

static void dump(struct buf *payload)
{
    struct library_set *set = functions_take(&f);
    cr_assert(functions_dump(set, true, payload));
    library_set_unref(&f, set);
}

Test(library, a_dump_is_restored_whole_or_not_at_all)
{
    struct buf payload = {.mem = &mem};
    cr_assert_null(load(ONE("a", "one"), false));
    cr_assert_null(load(ONE("b", "two"), false));
    dump(&payload);
    error.size = 0;
    cr_assert_not(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_ADD, &error));
    cr_assert(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_REPLACE, &error));
    expect_counts(2, 2);
    cr_assert(functions_flush(&f));
    cr_assert_null(load(ONE("c", "two"), false));
    cr_assert_not(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_REPLACE, &error));
    expect_counts(1, 1);
    cr_assert(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_FLUSH, &error));
    expect_counts(2, 2);
    cr_assert(has_function("one"));
    buf_clear(&payload);
}

Test(library, a_payload_that_is_cut_off_or_damaged_is_refused)
{
    struct buf payload = {.mem = &mem};
    cr_assert_null(load(ONE("a", "one"), false));
    dump(&payload);
    cr_assert(functions_flush(&f));
    for (size_t size = 0; size < payload.size; size++) {
        struct bytes cut = bytes_make(payload.data, size);
        cr_assert_not(functions_restore(&f, &vm, cut, FUNCTIONS_ADD, &error));
    }
    for (size_t at = 0; at < payload.size; at++) {
        payload.data[at] ^= 1;
        cr_assert_not(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_ADD, &error));
        payload.data[at] ^= 1;
    }
    expect_counts(0, 0);
    cr_assert(functions_restore(&f, &vm, buf_view(&payload), FUNCTIONS_ADD, &error));
    buf_clear(&payload);
}

Test(library, flags_and_descriptions_are_kept)
{
    cr_assert_null(load("#!lua name=lib\nredis.register_function{function_name='f', "
                        "callback=function() end, description='what it does', "
                        "flags={'no-writes', 'allow-oom'}}",
                        false));
    struct library_set *set = functions_take(&f);
    const struct function *function = library_set_find_function(set, bytes_of("f"));
    cr_assert_eq(function->script.flags, SCRIPT_NO_WRITES | SCRIPT_ALLOW_OOM);
    cr_assert(function->has_description);
    cr_assert(bytes_equal(function->description, bytes_of("what it does")));
    cr_assert_str_eq(function->script.label, "f");
    library_set_unref(&f, set);
}
