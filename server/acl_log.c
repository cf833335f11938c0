#include "server/acl_log.h"

#define ENTRY_BYTES_MAX (3 * (ACL_LOG_TEXT_BYTES_MAX + 16) + 512) /* as a reply */

struct entry {
    struct dlist link;
    uint64_t id, count;
    unsigned reason;
    enum acl_context context;
    struct bytes object, username, client; /* in one allocation */
    char *texts;
    size_t texts_bytes;
    int64_t created_ms, updated_ms;
};

static struct bytes cut(struct bytes text)
{
    return bytes_make(text.data, MIN(text.size, (size_t)ACL_LOG_TEXT_BYTES_MAX));
}

static void entry_free(struct acl *a, struct entry *e)
{
    dlist_remove(&e->link);
    a->log_count--;
    mem_free(&a->mem, e->texts, e->texts_bytes);
    mem_free(&a->mem, e, sizeof *e);
}

static struct bytes put(char **at, struct bytes text)
{
    struct bytes copy = bytes_make(*at, text.size);
    if (text.size) memcpy(*at, text.data, text.size);
    *at += text.size;
    return copy;
}

/* The texts of the event, in place of those that were there. False: no memory. */
static bool take_texts(struct acl *a, struct entry *e, const struct acl_event *event)
{
    size_t size = event->object.size + event->username.size + event->client.size + 1;
    char *texts = mem_try_alloc(&a->mem, size), *at = texts;
    if (!texts) return false;
    e->object = put(&at, event->object);
    e->username = put(&at, event->username);
    e->client = put(&at, event->client);
    mem_free(&a->mem, e->texts, e->texts_bytes);
    e->texts = texts;
    e->texts_bytes = size;
    return true;
}

static bool is_like(const struct entry *e, const struct acl_event *event, int64_t now)
{
    return e->reason == event->reason && e->context == event->context &&
           now - e->updated_ms <= ACL_LOG_SAME_MS && bytes_equal(e->object, event->object) &&
           bytes_equal(e->username, event->username);
}

static void push_front(struct acl *a, struct entry *e)
{
    dlist_push_back(a->log.next, &e->link); /* in front of the first */
}

static void add_again(struct acl *a, struct entry *e, const struct acl_event *event, int64_t now)
{
    if (!take_texts(a, e, event)) return;
    e->count++;
    e->updated_ms = now;
    dlist_remove(&e->link);
    push_front(a, e);
}

static void add_new(struct acl *a, const struct acl_event *event, int64_t now)
{
    struct entry *e = mem_try_alloc(&a->mem, sizeof *e);
    if (!e) return;
    *e = (struct entry){.count = 1,
                        .reason = event->reason,
                        .context = event->context,
                        .created_ms = now,
                        .updated_ms = now};
    dlist_init(&e->link);
    if (!take_texts(a, e, event)) {
        mem_free(&a->mem, e, sizeof *e);
        return;
    }
    e->id = a->log_ids++;
    push_front(a, e);
    a->log_count++;
}

static struct entry *find_like(struct acl *a, const struct acl_event *event, int64_t now)
{
    unsigned seen = 0;
    dlist_each (link, &a->log) {
        struct entry *e = container_of(link, struct entry, link);
        if (is_like(e, event, now)) return e;
        if (++seen == 10) break; /* as Redis looks at the newest only */
    }
    return NULL;
}

void acl_log_add(struct acl *a, const struct acl_event *given, uint64_t max)
{
    struct acl_event event = *given;
    event.object = cut(event.object);
    event.username = cut(event.username);
    event.client = cut(event.client);
    int64_t now = event.now_ms;
    atomic_fetch_add_explicit(&a->denials[event.reason], 1, memory_order_relaxed);
    pthread_mutex_lock(&a->mutex);
    struct entry *e = find_like(a, &event, now);
    if (e)
        add_again(a, e, &event, now);
    else
        add_new(a, &event, now);
    while (!e && a->log_count > max) entry_free(a, container_of(a->log.prev, struct entry, link));
    pthread_mutex_unlock(&a->mutex);
}

void acl_log_clear(struct acl *a)
{
    pthread_mutex_lock(&a->mutex);
    while (!dlist_is_empty(&a->log)) entry_free(a, container_of(a->log.next, struct entry, link));
    pthread_mutex_unlock(&a->mutex);
}

static void reply_entry(const struct entry *e, int64_t now, struct reply *out)
{
    static const char *const reasons[ACL_REASONS] = {"", "command", "key", "channel", "auth"};
    static const char *const contexts[] = {"toplevel", "multi", "lua"};
    reply_map(out, 10);
    reply_bulk_text(out, "count");
    reply_i64(out, (int64_t)e->count);
    reply_bulk_text(out, "reason");
    reply_bulk_text(out, reasons[e->reason]);
    reply_bulk_text(out, "context");
    reply_bulk_text(out, contexts[e->context]);
    reply_bulk_text(out, "object");
    reply_bulk(out, e->object);
    reply_bulk_text(out, "username");
    reply_bulk(out, e->username);
    reply_bulk_text(out, "age-seconds");
    reply_double(out, (double)(now - e->updated_ms) / 1000);
    reply_bulk_text(out, "client-info");
    reply_bulk(out, e->client);
    reply_bulk_text(out, "entry-id");
    reply_i64(out, (int64_t)e->id);
    reply_bulk_text(out, "timestamp-created");
    reply_i64(out, e->created_ms);
    reply_bulk_text(out, "timestamp-last-updated");
    reply_i64(out, e->updated_ms);
}

void acl_log_reply(struct acl *a, uint64_t max, int64_t now_ms, struct reply *out)
{
    pthread_mutex_lock(&a->mutex);
    uint64_t left = MIN(max, a->log_count);
    if (!reply_try_reserve(out, left * ENTRY_BYTES_MAX + 1)) {
        reply_err(out, ERR_ALLOC);
        left = 0;
    } else {
        reply_array(out, left);
    }
    dlist_each (link, &a->log) {
        if (left-- == 0) break;
        reply_entry(container_of(link, struct entry, link), now_ms, out);
    }
    pthread_mutex_unlock(&a->mutex);
}
