/* load: a load generator that costs next to nothing per request.
 *
 * All requests are made before the clock starts; each connection sends blocks of them (a pipeline),
 * waits for every reply, and sends the next. Replies are counted and looked at. Times are from
 * handing a block to the kernel until its last reply.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "bench/load/client.h"

#define THREADS_MAX 64

static const char usage[] =
    "usage: load [options] COMMAND-TEMPLATE…\n"
    "  load -p 6379 -c 50 -P 16 -s 4 'SET key:{key} {value}'\n"
    "\n"
    "  {key}, {member}  12 digits below --keys and --members   {number}  below a million\n"
    "  {value}          --value-bytes letters\n"
    "\n"
    "  -h, --host NAME        127.0.0.1\n"
    "  -p, --port PORT        6379\n"
    "  -c, --connections N    50, dealt out to the threads\n"
    "  -P, --pipeline N       1: requests that a connection sends before it waits\n"
    "  -s, --seconds S        4\n"
    "  -n, --count N          this many requests instead\n"
    "  -t, --threads N        1\n"
    "      --keys N           1000000\n"
    "      --members N        1000\n"
    "      --value-bytes N    32\n"
    "      --expect REPLY     how each reply should begin: '+', ':', '$32', '*10'; others count\n"
    "      --fill             each key, or member of each key, once, in order; one thread\n"
    "      --sleep            wait in the kernel instead of spinning (no CPU to itself)\n"
    "      --seed N           of keys and members\n"
    "      --timeline FILE    CSV of latencies, a line every 100 ms; one thread\n"
    "      --json             one line of JSON on standard output instead of text\n";

struct options {
    struct request_form form;
    struct client_options client;
    unsigned threads;
    bool json;
    char text[4096];
};

/* ---- options ---- */

enum long_option {
    OPT_KEYS = 256,
    OPT_MEMBERS,
    OPT_VALUE,
    OPT_EXPECT,
    OPT_FILL,
    OPT_SLEEP,
    OPT_SEED,
    OPT_TIMELINE,
    OPT_JSON
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"connections", required_argument, NULL, 'c'},
    {"pipeline", required_argument, NULL, 'P'},
    {"seconds", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'n'},
    {"threads", required_argument, NULL, 't'},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"members", required_argument, NULL, OPT_MEMBERS},
    {"value-bytes", required_argument, NULL, OPT_VALUE},
    {"expect", required_argument, NULL, OPT_EXPECT},
    {"fill", no_argument, NULL, OPT_FILL},
    {"sleep", no_argument, NULL, OPT_SLEEP},
    {"seed", required_argument, NULL, OPT_SEED},
    {"timeline", required_argument, NULL, OPT_TIMELINE},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'H'},
    {0},
};

NORETURN static void stop(const char *problem)
{
    fprintf(stderr, "load: %s\n", problem);
    exit(1);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < least || n > most)
        stop("a number is out of range");
    return n;
}

static void take_option(struct options *o, int option)
{
    switch (option) {
    case 'h':
        o->client.host = optarg;
        break;
    case 'p':
        o->client.port = optarg;
        break;
    case 'c':
        o->client.connections = (unsigned)number(optarg, 1, 100000);
        break;
    case 'P':
        o->client.pipeline = (unsigned)number(optarg, 1, 10000);
        break;
    case 's':
        o->client.duration_ns = (uint64_t)(strtod(optarg, NULL) * 1e9);
        break;
    case 'n':
        o->client.count = number(optarg, 1, UINT64_MAX / 2);
        o->client.duration_ns = 0;
        break;
    case 't':
        o->threads = (unsigned)number(optarg, 1, THREADS_MAX);
        break;
    case OPT_KEYS:
        o->form.key_count = number(optarg, 1, 999999999999);
        break;
    case OPT_MEMBERS:
        o->form.member_count = number(optarg, 1, 999999999999);
        break;
    case OPT_VALUE:
        o->form.value_bytes = (unsigned)number(optarg, 0, 2048);
        break;
    case OPT_EXPECT:
        o->client.expected = reply_expected_read(optarg);
        break;
    case OPT_FILL:
        o->form.fills = o->client.fills = true;
        break;
    case OPT_SLEEP:
        o->client.sleeps = true;
        break;
    case OPT_SEED:
        o->form.seed = number(optarg, 1, UINT32_MAX);
        break;
    case OPT_TIMELINE:
        o->client.timeline = fopen(optarg, "w");
        if (!o->client.timeline) stop("the file of the timeline cannot be written");
        break;
    case OPT_JSON:
        o->json = true;
        break;
    default:
        fputs(usage, option == 'H' ? stdout : stderr);
        exit(option == 'H' ? 0 : 1);
    }
}

static void read_options(struct options *o, int argc, char **argv)
{
    *o = (struct options){
        .form = {.key_count = 1000000, .member_count = 1000, .value_bytes = 32, .seed = 1},
        .client = {.host = "127.0.0.1",
                   .port = "6379",
                   .connections = 50,
                   .pipeline = 1,
                   .duration_ns = 4000000000},
        .threads = 1};
    int option;
    while ((option = getopt_long(argc, argv, "h:p:c:P:s:n:t:", long_options, NULL)) != -1)
        take_option(o, option);
    for (; optind < argc; optind++) {
        size_t used = strlen(o->text);
        snprintf(o->text + used, sizeof o->text - used, "%s%s", used ? " " : "", argv[optind]);
    }
    if (o->client.timeline && o->threads > 1) stop("a timeline is of one thread");
    if (o->threads > o->client.connections) stop("more threads than connections");
    o->form.text = o->text;
    o->form.pipeline = o->client.pipeline;
    o->form.connections = o->client.connections;
    if (o->client.fills) {
        o->threads = 1;
        o->client.duration_ns = 0;
        o->client.count = requests_to_fill(&o->form);
    }
}

/* ---- results ---- */

static void merge_results(struct client_result *into, const struct client_result *from)
{
    into->counts.replies += from->counts.replies;
    into->counts.nulls += from->counts.nulls;
    into->counts.unexpected += from->counts.unexpected;
    if (from->counts.errors && !into->counts.errors)
        memcpy(into->counts.first_error, from->counts.first_error, sizeof into->counts.first_error);
    into->counts.errors += from->counts.errors;
    histogram_merge(&into->latencies, &from->latencies);
    into->elapsed_ns = MAX(into->elapsed_ns, from->elapsed_ns);
    into->idle_ns += from->idle_ns;
    if (from->problem) into->problem = from->problem;
}

static void print_result(const struct options *o, const struct client_result *r)
{
    double seconds = (double)MAX(r->elapsed_ns, 1u) / 1e9;
    double p[] = {0.5, 0.99, 0.999};
    for (unsigned i = 0; i < ARRAY_LEN(p); i++)
        p[i] = (double)histogram_at(&r->latencies, p[i]) / 1e6;
    double idle = (double)r->idle_ns / 1e9 / seconds / o->threads;
    printf(o->json ? "{\"ops_per_second\": %.0f, \"operations\": %llu, \"seconds\": %.3f, "
                     "\"p50_ms\": %.4f, "
                     "\"p99_ms\": %.4f, \"p99.9_ms\": %.4f, \"idle\": %.3f, \"errors\": %llu, "
                     "\"nulls\": %llu, \"unexpected\": %llu}\n"
                   : "%.0f ops/s (%llu in %.3f s), p50 %.4f ms, p99 %.4f ms, p99.9 %.4f ms; "
                     "generator idle "
                     "%.3f; errors %llu, nulls %llu, unexpected %llu\n",
           (double)r->counts.replies / seconds, (unsigned long long)r->counts.replies, seconds,
           p[0], p[1], p[2], idle, (unsigned long long)r->counts.errors,
           (unsigned long long)r->counts.nulls, (unsigned long long)r->counts.unexpected);
    if (r->counts.errors) fprintf(stderr, "load: the first error was %s\n", r->counts.first_error);
}

/* ---- threads ---- */

struct task {
    struct client_options options;
    struct client_result result;
    pthread_t thread;
};

static void *task_main(void *argument)
{
    struct task *task = argument;
    client_run(&task->options, &task->result);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct options o;
    struct requests requests = {0};
    read_options(&o, argc, argv);
    const char *problem = requests_make(&requests, &o.form);
    if (problem) stop(problem);
    o.client.requests = &requests;
    struct task *tasks = calloc(o.threads, sizeof *tasks);
    CHECK(tasks);
    for (unsigned i = 0; i < o.threads; i++) {
        struct client_options *c = &tasks[i].options;
        *c = o.client;
        c->seed = o.form.seed + i;
        c->connections = o.client.connections / o.threads + (i < o.client.connections % o.threads);
        c->count = o.client.count / o.threads;
        CHECK(pthread_create(&tasks[i].thread, NULL, task_main, &tasks[i]) == 0);
    }
    static struct client_result total;
    for (unsigned i = 0; i < o.threads; i++) {
        pthread_join(tasks[i].thread, NULL);
        merge_results(&total, &tasks[i].result);
    }
    free(tasks);
    if (o.client.timeline) fclose(o.client.timeline);
    requests_free(&requests);
    if (total.problem) stop(total.problem);
    print_result(&o, &total);
    return 0;
}
