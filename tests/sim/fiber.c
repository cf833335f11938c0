#include "tests/sim/fiber.h"

#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define FOLLOWS_STACKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FOLLOWS_STACKS 1
#endif
#endif
#ifdef FOLLOWS_STACKS
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES (512 * 1024)

struct fiber {
    ucontext_t context;
    void (*run)(void *argument);
    void *argument;
    char *stack;
    void *fake_stack; /* AddressSanitizer's */
    bool is_over;
};

/* The stack that resumes fibers, and the one of them that runs. */
static ucontext_t outside;
static void *outside_fake_stack;
static const void *outside_stack;
static size_t outside_stack_bytes;
static struct fiber *here;

#ifdef FOLLOWS_STACKS
static void before_switch(void **fake_stack, const void *stack, size_t bytes)
{
    __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}

static void after_switch(void *fake_stack, const void **stack, size_t *bytes)
{
    __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
}
#else
static void before_switch(void **fake_stack, UNUSED const void *stack, UNUSED size_t bytes)
{
    if (fake_stack) *fake_stack = NULL;
}

static void after_switch(UNUSED void *fake_stack, const void **stack, size_t *bytes)
{
    if (stack) *stack = NULL;
    if (bytes) *bytes = 0;
}
#endif

static void fiber_main(void)
{
    after_switch(NULL, &outside_stack, &outside_stack_bytes);
    here->run(here->argument);
    here->is_over = true;
    before_switch(NULL, outside_stack, outside_stack_bytes); /* NULL: this stack ends */
}

struct fiber *fiber_create(void (*run)(void *argument), void *argument)
{
    struct fiber *f = calloc(1, sizeof *f);
    CHECK(f);
    f->run = run;
    f->argument = argument;
    f->stack = malloc(STACK_BYTES);
    CHECK(f->stack && getcontext(&f->context) == 0);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = &outside;
    makecontext(&f->context, fiber_main, 0);
    return f;
}

void fiber_destroy(struct fiber *f)
{
    CHECK(f->is_over);
    free(f->stack);
    free(f);
}

void fiber_resume(struct fiber *f)
{
    CHECK(!here && !f->is_over);
    here = f;
    before_switch(&outside_fake_stack, f->stack, STACK_BYTES);
    CHECK(swapcontext(&outside, &f->context) == 0);
    after_switch(outside_fake_stack, NULL, NULL);
    here = NULL;
}

void fiber_yield(void)
{
    struct fiber *f = here;
    before_switch(&f->fake_stack, outside_stack, outside_stack_bytes);
    CHECK(swapcontext(&f->context, &outside) == 0);
    after_switch(f->fake_stack, &outside_stack, &outside_stack_bytes);
}

struct fiber *fiber_here(void)
{
    return here;
}

bool fiber_is_over(const struct fiber *f)
{
    return f->is_over;
}
