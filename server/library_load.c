#include "server/library_load.h"

#include "server/lua_vm.h"

typedef bool is_there_fn(const void *libraries, struct bytes name);

/* A library that `is_there` among `libraries` is not loaded. NULL: `error` says why. */
static struct library *load(struct functions *f, struct lua_vm *vm, struct bytes code,
                            is_there_fn *is_there, const void *libraries, struct buf *error)
{
    struct buf words = {.mem = &vm->mem};
    struct library_draft d = {.code = code};
    struct library *l = NULL;
    bool ok = library_read_metadata(code, &words, &d.name, error);
    if (ok && libraries && is_there(libraries, d.name)) {
        buf_printf(error, "ERR Library '%.*s' already exists", (int)d.name.size, d.name.data);
        ok = false;
    }
    if (ok && lua_vm_load_library(vm, &d, error)) {
        l = library_make(f, &d);
        if (!l) buf_append_text(error, err_text(ERR_ALLOC));
        lua_vm_drop_draft(vm, &d);
    }
    buf_clear(&words);
    return l;
}

static bool is_in_set(const void *set, struct bytes name)
{
    return library_set_find(set, name) != NULL;
}

bool functions_load(struct functions *f, struct lua_vm *vm, struct bytes code, bool may_replace,
                    struct library **library, struct buf *error)
{
    struct library_set *existing = may_replace ? NULL : functions_take(f);
    struct library *l = load(f, vm, code, is_in_set, existing, error);
    if (existing) library_set_unref(f, existing);
    if (!l) return false;
    enum functions_policy policy = may_replace ? FUNCTIONS_REPLACE : FUNCTIONS_ADD;
    if (functions_add(f, &l, 1, policy, true, error)) {
        *library = l;
        return true;
    }
    library_unref(l);
    return false;
}

/* ---- several ---- */

static struct library **libraries_of(const struct library_batch *b)
{
    return (struct library **)(void *)b->libraries.data;
}

static uint32_t count_of(const struct library_batch *b)
{
    return (uint32_t)(b->libraries.size / sizeof(struct library *));
}

static bool check_pair(const struct library *a, const struct library *b, struct buf *error)
{
    for (uint32_t i = 0; i < b->function_count; i++)
        for (uint32_t j = 0; j < a->function_count; j++) {
            const char *name = b->functions[i].script.label;
            if (!bytes_equal_nocase(bytes_of(a->functions[j].script.label), name)) continue;
            buf_printf(error, "ERR Function %s already exists", name);
            return false;
        }
    return true;
}

static bool is_in_batch(const void *batch, struct bytes name)
{
    const struct library_batch *b = batch;
    for (uint32_t i = 0; i < count_of(b); i++)
        if (bytes_equal(libraries_of(b)[i]->name, name)) return true;
    return false;
}

bool library_batch_add(struct library_batch *b, struct bytes code, struct buf *error)
{
    b->libraries.mem = &b->vm->mem;
    struct library *l = load(b->functions, b->vm, code, is_in_batch, b, error);
    if (!l) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < count_of(b); i++) ok = check_pair(libraries_of(b)[i], l, error);
    if (ok && !buf_try_reserve(&b->libraries, sizeof l)) {
        buf_append_text(error, err_text(ERR_ALLOC));
        ok = false;
    }
    if (ok)
        buf_append(&b->libraries, &l, sizeof l);
    else
        library_unref(l);
    return ok;
}

bool library_batch_publish(struct library_batch *b, enum functions_policy policy, struct buf *error)
{
    return functions_add(b->functions, libraries_of(b), count_of(b), policy, false, error);
}

void library_batch_deinit(struct library_batch *b)
{
    for (uint32_t i = 0; i < count_of(b); i++) library_unref(libraries_of(b)[i]);
    buf_clear(&b->libraries);
}

static bool add_code(void *context, struct bytes code, struct buf *error)
{
    return library_batch_add(context, code, error);
}

bool functions_restore(struct functions *f, struct lua_vm *vm, struct bytes payload,
                       enum functions_policy policy, struct buf *error)
{
    struct library_batch b = {.functions = f, .vm = vm};
    bool ok = functions_read_dump(payload, &vm->mem, add_code, &b, error) &&
              library_batch_publish(&b, policy, error);
    library_batch_deinit(&b);
    return ok;
}
