/* env_helper.c: the thread that makes a loop's slow file calls where there is no io_uring.
 *
 *     loop ──requests──▶ helper          one at a time, in order
 *          ◀─is_done_by_helper, env_wake
 *
 * It is started by the first request and ends with its loop. It touches only the request it was
 * given, and the file's descriptor.
 */
#include <semaphore.h>

#include "base/env_internal.h"
#include "base/mailbox.h"

#define REQUESTS_MAX 64 /* pending at a time in one loop */

struct env_helper {
    pthread_t thread;
    sem_t work;
    struct env_loop *loop;
    struct env_file_request *first; /* what is pending, oldest first; the loop's own */
    struct env_file_request **last;
    struct mailbox box;
    void *slots[REQUESTS_MAX];
};

static void serve(struct env_file_request *r)
{
    int error = env_file_write_all(r->file->fd, r->offset, r->left);
    enum env_file_op failed = error != 0 ? ENV_FILE_WRITE : ENV_FILE_SYNC;
    if (error == 0) error = env_file_sync_now(r->file->fd);
    r->error = error;
    r->failed = error != 0 ? failed : ENV_FILE_NOTHING;
    r->is_write_done = failed == ENV_FILE_SYNC;
}

static void *run(void *argument)
{
    struct env_helper *h = argument;
    check_context_here()->role = "file";
    for (;;) {
        while (sem_wait(&h->work) != 0) continue;
        struct env_file_request *r = mailbox_pop(&h->box);
        if (r == NULL) return NULL; /* told to end */
        serve(r);
        /* Pairs with the acquire load in env_helper_collect. The request is the loop's again. */
        atomic_store_explicit(&r->is_done_by_helper, true, memory_order_release);
        env_wake(NULL, h->loop);
    }
}

static void start(struct env_loop *loop)
{
    struct env_helper *h = env_map(sizeof *h);
    h->loop = loop;
    h->last = &h->first;
    mailbox_init(&h->box, h->slots, REQUESTS_MAX);
    CHECK(sem_init(&h->work, 0, 0) == 0);
    CHECK(pthread_create(&h->thread, NULL, run, h) == 0);
    loop->helper = h;
}

void env_helper_commit(struct env_loop *loop, struct env_file_request *r)
{
    if (loop->helper == NULL) start(loop);
    struct env_helper *h = loop->helper;
    *h->last = r;
    h->last = &r->next;
    CHECK(mailbox_push(&h->box, r));
    CHECK(sem_post(&h->work) == 0);
}

void env_helper_collect(struct env_loop *loop)
{
    struct env_helper *h = loop->helper;
    struct env_file_request *r;
    while ((r = h->first) != NULL &&
           atomic_load_explicit(&r->is_done_by_helper, memory_order_acquire)) {
        h->first = r->next;
        if (h->first == NULL) h->last = &h->first;
        env_file_request_finish(r);
    }
}

void env_helper_stop(struct env_loop *loop)
{
    struct env_helper *h = loop->helper;
    CHECK(sem_post(&h->work) == 0);
    CHECK(pthread_join(h->thread, NULL) == 0);
    sem_destroy(&h->work);
    env_unmap(h, sizeof *h);
    loop->helper = NULL;
}
