/*
 * `skep start`, `skep stop` and `skep restart`: VMs by the name of their configuration file.
 *
 * Who stops a VM waits for its process, not for its word: a pidfd tells of the end of exactly that process, whatever its number
 * is used for later, and then its run directory, its disks and its pidfile are free.
 */
#include "common/cmd/service.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/cmd/ctl_client.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/vm.h"

#define STOP_TIMEOUT_S 60
#define STOP_TIMEOUT_MAX_S 86400
#define END_MS 10000            /* what an end without the guest takes at most: disks are flushed */
#define ETC "/etc/skep"

struct stop {
	const char *name;
	unsigned timeout_s;
	bool force;
};

static int check_name(const char *name)
{
	char why[96];

	return rundir_name_check(name, why, sizeof(why)) ? err_msg(-EINVAL, "VM name '%s': %s", name, why) : 0;
}

/* ~/.config/skep, /etc/skep for root; false: none. */
static bool own_dir(char *out, size_t len)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (geteuid() == 0)
		snprintf(out, len, "%s", ETC);
	else if (xdg && xdg[0] == '/')
		snprintf(out, len, "%s/skep", xdg);
	else if (home && home[0] == '/')
		snprintf(out, len, "%s/.config/skep", home);
	else
		return false;
	return true;
}

int service_own_conf(const char *name, char *out, size_t len)
{
	char dir[PATH_MAX];

	if (check_name(name))
		return -EINVAL;
	if (!own_dir(dir, sizeof(dir)))
		return err_msg(-ENOENT, "VM '%s': no place for its configuration: set HOME or XDG_CONFIG_HOME", name);
	if (snprintf(out, len, "%s/%s.conf", dir, name) >= (int)len)
		return err_msg(-ENAMETOOLONG, "VM '%s': the path of its configuration is too long: set XDG_CONFIG_HOME", name);
	return 0;
}

/* Also one that cannot be looked at: reading it says why. */
static bool is_there(const char *path)
{
	return !access(path, F_OK) || (errno != ENOENT && errno != ENOTDIR);
}

int service_find_conf(const char *name, char *out, size_t len)
{
	char dir[PATH_MAX];

	if (check_name(name))
		return -EINVAL;
	if (own_dir(dir, sizeof(dir)) && snprintf(out, len, "%s/%s.conf", dir, name) < (int)len && is_there(out))
		return 0;
	if (snprintf(out, len, ETC "/%s.conf", name) < (int)len && is_there(out))
		return 0;
	return err_msg(-ENOENT, "VM '%s' has no configuration, such as '%s'; 'skep create %s' writes one", name, out, name);
}

/* --- start --- */

/* Run's options, read from NAME's file and then from argv.  0, or the exit status, CLI_ANSWERED included. */
static int read_conf(const char *name, int argc, char **argv, struct conf *conf)
{
	static const struct cli_opt rows[] = {
		{ .name = "foreground", .key = "daemon", .value = "false", .help = "stay in the foreground, with the console on the terminal" },
		{ .help = NULL }
	};
	struct cli cli = { .prog = "skep start", .synopsis = "NAME [options]", .extra = rows };
	char path[PATH_MAX];
	const int fixed = 6;
	int status = service_find_conf(name, path, sizeof(path));

	if (status)
		return status == -EINVAL ? STATUS_USAGE : STATUS_REFUSED;
	char **args = calloc((size_t)(argc + fixed + 1), sizeof(*args));
	char *const head[] = { "start", "-k", path, "-o", "daemon=true", (char *)name };

	if (!args)
		abort();
	memcpy(args, head, sizeof(head));
	for (int i = 0; i < argc; i++)
		args[fixed + i] = argv[i];
	status = cli_parse_run(&cli, argc + fixed, args, conf);
	free(args);
	return status;
}

static bool wants_help(int argc, char **argv)
{
	return argc == 2 && !strcmp(argv[1], "--help");
}

int cmd_start_vm(int argc, char **argv)
{
	char *what[] = { "help", "start", NULL };
	struct conf *conf;
	int status;

	if (wants_help(argc, argv))
		return cmd_help(2, what);
	if (argc < 2 || argv[1][0] == '-')
		return cmd_usage("start", "the VM's name comes first: 'skep start NAME [options]'");
	conf = conf_new();
	status = read_conf(argv[1], argc - 2, argv + 2, conf);
	if (!status)
		status = cmd_run_conf(conf);
	conf_free(conf);
	return status == CLI_ANSWERED ? 0 : status;
}

/* --- stop --- */

/* Has it ended within the time? */
static bool ends(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int n;

	while ((n = poll(&p, 1, timeout_ms)) < 0 && errno == EINTR)
		;
	return n > 0;
}

static int end_by_force(const struct stop *s, int pidfd)
{
	/* The first asks for an orderly end without the guest, the second does not ask. */
	static const int signals[] = { SIGQUIT, SIGKILL };

	for (size_t i = 0; i < NELEM(signals); i++) {
		if (pidfd_send_signal(pidfd, signals[i], NULL, 0) && errno != ESRCH) {
			err_sys("VM '%s': end", s->name);
			return STATUS_REFUSED;
		}
		if (ends(pidfd, END_MS)) {
			rundir_clean_dead();
			return 0;
		}
	}
	err_msg(-ETIMEDOUT, "VM '%s' was killed, but its process does not end: the host's kernel log may say why", s->name);
	return STATUS_FAILED;
}

static void drop_message(void *arg UNUSED, enum log_level level UNUSED, const char *text UNUSED)
{
}

/* False: the guest cannot be asked, which is reported where nothing else can be done. */
static bool press_button(const struct stop *s)
{
	json_t *answer;

	if (s->force)
		log_divert(drop_message, NULL);
	answer = cc_ask(s->name, "poweroff", NULL);
	log_divert(NULL, NULL);
	json_decref(answer);
	return answer;
}

static int stop_process(const struct stop *s, int pidfd)
{
	const bool pressed = press_button(s);

	if (!pressed && !s->force)
		return ends(pidfd, 0) ? 0 : STATUS_REFUSED;
	if (pressed && ends(pidfd, (int)s->timeout_s * 1000))
		return 0;
	if (s->force)
		return end_by_force(s, pidfd);
	err_msg(-ETIMEDOUT, "VM '%s' still runs %u s after its power button was pressed: wait longer with --timeout, or end it with --force",
		s->name, s->timeout_s);
	return STATUS_FAILED;
}

/* The process of the VM, as a pidfd: -ENOENT, none; -errno.  Not reported. */
static int open_process(const char *name)
{
	char *dir = rundir_path(name);
	const int pid = rundir_owner(dir);
	int fd = pid > 0 ? pidfd_open(pid, 0) : pid ? pid : -ENOENT;

	if (pid > 0 && fd < 0)
		fd = errno == ESRCH ? -ENOENT : -errno;
	/* The number may have been given to another process in between; then the VM has ended. */
	if (fd >= 0 && rundir_owner(dir) != pid) {
		close(fd);
		fd = -ENOENT;
	}
	free(dir);
	return fd;
}

/* Exit status.  `must`: it is to be there. */
static int stop_vm(const struct stop *s, bool must)
{
	const int fd = open_process(s->name);
	int status;

	if (fd >= 0) {
		status = stop_process(s, fd);
		close(fd);
		return status;
	}
	if (fd == -ENOENT && !must)
		return 0;
	if (fd == -ENOENT)
		err_msg(fd, "VM '%s' is not running; 'skep list' shows those that are", s->name);
	else if (fd == -ESRCH)
		err_msg(fd, "VM '%s' is just starting or ending; try again", s->name);
	else
		err_msg(fd, "VM '%s': its process: %s", s->name, strerror(-fd));
	return STATUS_REFUSED;
}

static bool parse_timeout(const char *text, unsigned *out)
{
	static const struct opt o = { .name = "timeout", .type = OPT_U64, .max = STOP_TIMEOUT_MAX_S };
	char why[80];
	uint64_t n;

	if (opt_parse_u64(&o, text, &n, why, sizeof(why)) || n > o.max)
		return false;
	*out = (unsigned)n;
	return true;
}

/* NAME [--timeout S] [--force]; 0, or STATUS_USAGE after a message. */
static int parse_stop(int argc, char **argv, struct stop *s)
{
	*s = (struct stop){ .timeout_s = STOP_TIMEOUT_S };
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = NULL;

		if (!strcmp(a, "--force")) {
			s->force = true;
			continue;
		}
		if (!strncmp(a, "--timeout=", 10))
			value = a + 10;
		else if (!strcmp(a, "--timeout"))
			value = ++i < argc ? argv[i] : "";
		if (value && !parse_timeout(value, &s->timeout_s))
			return cmd_usage(argv[0], "--timeout: '%s' is no number of seconds from 0 to %d", value, STOP_TIMEOUT_MAX_S);
		if (value)
			continue;
		if (a[0] == '-' || s->name)
			return cmd_usage(argv[0], a[0] == '-' ? "'%s' is not an option" : "'%s': there is a name already", a);
		s->name = a;
	}
	if (!s->name)
		return cmd_usage(argv[0], "the name of the VM is missing");
	return check_name(s->name) ? STATUS_USAGE : 0;
}

int cmd_stop_vm(int argc, char **argv)
{
	char *what[] = { "help", "stop", NULL };
	struct stop s;

	if (wants_help(argc, argv))
		return cmd_help(2, what);
	const int status = parse_stop(argc, argv, &s);

	return status ? status : stop_vm(&s, true);
}

/* What would keep it from starting again is said before it is stopped. */
int cmd_restart_vm(int argc, char **argv)
{
	char *what[] = { "help", "restart", NULL };
	struct stop s;

	if (wants_help(argc, argv))
		return cmd_help(2, what);
	struct conf *conf = conf_new();
	int status = parse_stop(argc, argv, &s);

	if (!status)
		status = read_conf(s.name, 0, NULL, conf);
	if (!status)
		status = stop_vm(&s, false);
	if (!status)
		status = cmd_run_conf(conf);
	conf_free(conf);
	return status;
}
