/* main.c: the process: options, configuration, boot, signals, orderly stop. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "persist/file.h"
#include "server/descriptors.h"
#include "server/server.h"
#include "server/supervise.h"
#include "server/worker.h"

/* Set by signal handlers, looked at by the main loop, which a signal wakes. */
static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t interrupts;
static volatile sig_atomic_t reopen_log;

static void on_stop_signal(int number)
{
    if (number == SIGINT && interrupts++ > 0) _exit(1); /* the second one does not wait */
    stop_signal = number;
}

static void on_reopen_signal(int number)
{
    reopen_log = number;
}

static void signals_install(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, stop = {.sa_handler = on_stop_signal},
                     reopen = {.sa_handler = on_reopen_signal};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file that may not grow is an error of the write */
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGHUP, &reopen, NULL);
    check_install_crash_handler();
}

/* Workers leave signals to the main thread. */
static void signals_block(bool block)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void usage(FILE *out)
{
    fputs("Usage: shoal-server [/path/to/shoal.conf] [options] [-]\n"
          "       shoal-server - (read the configuration from standard input)\n"
          "       shoal-server -v or --version\n"
          "       shoal-server -h or --help\n"
          "\n"
          "Options are directives of the configuration file: --port 7777 --threads 4 --loglevel "
          "debug\n"
          "       --record-order FILE   write down the serial order of all commands at the end, "
          "for tests\n",
          out);
}

/* --record-order is for tests and no directive: taken out of the arguments. */
static const char *take_record_option(int *argc, char **argv)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], "--record-order") != 0) continue;
        const char *path = argv[i + 1];
        memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 1) * sizeof *argv);
        *argc -= 2;
        return path;
    }
    return NULL;
}

static void write_record(struct server *srv, const char *path)
{
    struct buf all = {.mem = &srv->mem};
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        const struct recorder *r = srv->net_workers[i]->recorder;
        buf_append(&all, r->records.data, r->turn_start);
    }
    if (file_replace(path, buf_view(&all), NULL) != OK)
        log_warning("The order could not be written to %s.", path);
    buf_clear(&all);
}

/* As many descriptors as maxclients needs, or fewer clients. */
static void reserve_descriptors(struct config *c)
{
    uint32_t clients = descriptors_reserve(c->maxclients);
    if (clients == c->maxclients) return;
    log_warning("maxclients reduced from %u to %u: that is what the limit of open files allows. "
                "Raise it with ulimit -n or LimitNOFILE=.",
                c->maxclients, clients);
    c->maxclients = clients;
}

static void warn_backlog(const struct config *c)
{
    FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
    int max = 0;
    if (f && fscanf(f, "%d", &max) == 1 && max < c->tcp_backlog)
        log_warning("The TCP backlog setting of %d cannot be enforced because "
                    "/proc/sys/net/core/somaxconn is %d.",
                    c->tcp_backlog, max);
    if (f) fclose(f);
}

static void log_warning_line(UNUSED void *context, const char *line)
{
    log_warning("%s", line);
}

static void write_pidfile(struct server *srv)
{
    const struct config *c = srv->config;
    if (c->pidfile[0] == '\0') return;
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (file_replace(c->pidfile, bytes_make(text, (size_t)n), NULL) != OK)
        log_warning("There is no pid file %s.", c->pidfile);
}

static bool go_to_background(void)
{
    pid_t pid = fork();
    if (pid < 0) return false;
    if (pid > 0) _exit(0);
    setsid();
    if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) ||
        !freopen("/dev/null", "w", stderr))
        return false;
    return true;
}

static bool prepare_process(struct config *c)
{
    if (c->dir[0] && chdir(c->dir) != 0) {
        fprintf(
            stderr,
            "shoal-server: cannot change to directory '%s' (dir): it is missing, or not allowed\n",
            c->dir);
        return false;
    }
    if (c->daemonize && !go_to_background()) {
        fprintf(stderr, "shoal-server: cannot go to the background\n");
        return false;
    }
    log_set_level(c->loglevel);
    if (!log_open(c->logfile)) {
        fprintf(stderr, "shoal-server: cannot open the log file '%s'\n", c->logfile);
        return false;
    }
    return true;
}

/* SIGHUP is seen to; true if it is time to go. */
static bool look_at_signals(void)
{
    if (reopen_log) {
        reopen_log = 0;
        log_reopen();
    }
    return stop_signal != 0;
}

/* Clients get -LOADING meanwhile. What was being loaded when the server is told to stop is not
 * saved again. False: there will be no serving. */
static bool load(struct server *srv)
{
    signals_block(false);
    while (!srv->is_loaded && !srv->should_stop && !look_at_signals()) server_step(srv, UINT64_MAX);
    signals_block(true);
    return srv->is_loaded;
}

static void stop_by_signal(struct server *srv)
{
    bool is_int = stop_signal == SIGINT;
    stop_signal = 0;
    if (srv->shutdown.state != SHUTDOWN_IDLE) return;
    log_warning("Received %s scheduling shutdown...", is_int ? "SIGINT" : "SIGTERM");
    uint32_t words = is_int ? srv->config->shutdown_on_sigint : srv->config->shutdown_on_sigterm;
    unsigned given = 0;
    if (words & CONFIG_SHUTDOWN_SAVE) given |= SHUTDOWN_SAVE;
    if (words & CONFIG_SHUTDOWN_NOSAVE) given |= SHUTDOWN_NOSAVE;
    if (words & CONFIG_SHUTDOWN_NOW) given |= SHUTDOWN_NOW;
    if (words & CONFIG_SHUTDOWN_FORCE) given |= SHUTDOWN_FORCE;
    shutdown_begin(srv, given, NULL);
}

static void serve(struct server *srv)
{
    for (uint32_t i = 0; i < srv->listener_count; i++)
        if (srv->listeners[i].is_open && srv->listeners[i].is_unix)
            log_notice("The server is now ready to accept connections at %s",
                       srv->listeners[i].address);
    if (srv->tcp_port)
        log_notice("Ready to accept connections on port %u", (unsigned)srv->tcp_port);
    write_pidfile(srv);
    supervise_ready(srv->config);
    signals_block(false);
    while (!srv->should_stop) {
        server_step(srv, UINT64_MAX);
        if (look_at_signals()) stop_by_signal(srv);
    }
    signals_block(true);
}

static int run(struct server *srv, struct config *config, const char *record_path)
{
    char why[SERVER_WHY_BYTES] = "";
    srv->is_recording = record_path != NULL;
    log_notice("Shoal %s is starting, pid %d", SERVER_VERSION, (int)getpid());
    reserve_descriptors(config);
    warn_backlog(config);
    config_warnings(config, log_warning_line, NULL);
    if (!server_init(srv, config, why)) {
        log_warning("%s", why);
        return 1;
    }
    signals_block(true);
    bool is_up = server_start(srv, why);
    bool is_loaded = is_up && load(srv);
    if (is_loaded)
        serve(srv);
    else if (!is_up)
        log_warning("%s", why);
    log_notice("Stopping");
    if (is_up) supervise_stopping(srv->config);
    server_stop(srv);
    if (record_path && is_up) write_record(srv, record_path);
    if (srv->config->pidfile[0]) unlink(srv->config->pidfile);
    if (is_up) log_notice("Shoal is now ready to exit, bye bye...");
    return is_up && !srv->has_failed_to_load ? 0 : 1;
}

/* True if the first argument asked for that and nothing else. */
static bool answer_question(int argc, char **argv)
{
    if (argc < 2) return false;
    bool version = strcmp(argv[1], "-v") == 0 || strcmp(argv[1], "--version") == 0;
    bool help = strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0;
    if (version)
        printf("Shoal server v=%s redis=%s malloc=%s bits=64\n", SERVER_VERSION,
               SERVER_REDIS_VERSION, mem_allocator_name());
    if (help) usage(stdout);
    return version || help;
}

int main(int argc, char **argv)
{
    if (answer_question(argc, argv)) return 0;
    const char *record_path = take_record_option(&argc, argv);
    struct server server = {0}, *srv = &server;
    mem_init(&srv->mem, "server");
    struct buf why = {.mem = &srv->mem};
    struct config *config = mem_alloc_zeroed(&srv->mem, sizeof *config);
    if (config_load(argc, argv, &srv->mem, config, &why) != OK) {
        fprintf(stderr, "%.*s\n", (int)why.size, why.data);
        return 1;
    }
    if (!realpath("/proc/self/exe", srv->executable)) srv->executable[0] = '\0';
    signals_install();
    if (!prepare_process(config)) return 1;
    (void)mem_start_decay();
    int status = run(srv, config, record_path);
    if (srv->is_drained) {
        struct config *last = (struct config *)(uintptr_t)srv->config;
        server_deinit(srv);
        config_deinit(last);
        mem_free(&srv->mem, last, sizeof *last);
        mem_deinit(&srv->mem);
    }
    return status;
}
