#include "server/supervise.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#ifdef SHOAL_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"

static bool is_systemd(const struct config *c)
{
    return c->supervised == CONFIG_SUPERVISED_SYSTEMD ||
           (c->supervised == CONFIG_SUPERVISED_AUTO && getenv("NOTIFY_SOCKET"));
}

static bool is_upstart(const struct config *c)
{
    return c->supervised == CONFIG_SUPERVISED_UPSTART ||
           (c->supervised == CONFIG_SUPERVISED_AUTO && !is_systemd(c) && getenv("UPSTART_JOB"));
}

const char *supervise_name(const struct config *c)
{
    if (is_systemd(c)) return "systemd";
    return is_upstart(c) ? "upstart" : "no";
}

static void notify_systemd(const struct config *c, const char *state)
{
    if (!is_systemd(c)) return;
#ifdef SHOAL_SYSTEMD
    int sent = sd_notify(0, state);
    if (sent == 0)
        log_warning("systemd supervision was requested, but NOTIFY_SOCKET is not set");
    else if (sent < 0)
        log_warning("systemd could not be told \"%s\": %s", state, strerror(-sent));
#else
    log_warning("systemd supervision was requested, but this build has no libsystemd: not sent: %s",
                state);
#endif
}

void supervise_ready(const struct config *c)
{
    notify_systemd(c, "READY=1\nSTATUS=Ready to accept connections");
    /* Upstart waits until the process stops itself, and then continues it. */
    if (is_upstart(c)) raise(SIGSTOP);
}

void supervise_stopping(const struct config *c)
{
    notify_systemd(c, "STOPPING=1");
}
