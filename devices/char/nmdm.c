/*
 * `nmdm=NAME`: a null-modem pair, as FreeBSD's nmdm(4), between two VMs or a VM and a terminal program.
 *
 * Both ends live in <runtime directory>/.nmdm.  An end that is in use is a flock on NAME-A.lock or NAME-B.lock,
 * which dies with its process.  Whoever comes first makes a pty and offers its slave as the other end's
 * symlink; a VM that takes the other end while the first is alive opens that slave, and so does `cu -l`.  When
 * the maker goes away, the VM left over makes a pty of its own.  A directory lock serialises these steps.
 *
 * `nmdm=NAME` takes A, or B when A is taken; `nmdm=NAME-A`, `nmdm=NAME-B` and bhyve's /dev/nmdmNAMEA choose.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"
#include "devices/char/chr_int.h"

#define NMDM_NAME_MAX 32
#define RETRY_NS 1000000000u

struct nmdm_spec {
	char name[NMDM_NAME_MAX + 1];
	char end;                       /* 'A', 'B', or 0: whichever is free */
};

struct nmdm {
	struct chardev *c;
	struct nmdm_spec spec;
	char *dir;
	int lock_fd;                    /* held: this end is ours */
	struct chr_pty *pty;            /* this side made the pair */
	bool peer;                      /* the other side did, and its slave is open here */
	struct ev *retry;
};

/* --- names --- */

static int nmdm_parse(const char *name, const char *arg, bool dev, struct nmdm_spec *s)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(arg), tail = dev ? 1 : 2;
	*s = (struct nmdm_spec){ .end = 0 };
	bool ends = len > tail && (arg[len - 1] == 'A' || arg[len - 1] == 'B') && (dev || arg[len - 2] == '-');
	if (ends) {
		s->end = arg[len - 1];
		len -= tail;
	}
	if ((dev && !ends) || len == 0 || len > NMDM_NAME_MAX || strspn(arg, ok) < len)
		return err_msg(-EINVAL, "%s: null modem '%s' is malformed; write nmdm=NAME, nmdm=NAME-A, nmdm=NAME-B or "
			       "/dev/nmdmNAMEA with at most %d letters and digits", name, arg, NMDM_NAME_MAX);
	memcpy(s->name, arg, len);
	return 0;
}

static int check_plain(const char *name, const char *arg)
{
	struct nmdm_spec s;
	return nmdm_parse(name, arg, false, &s);
}

static int check_dev(const char *name, const char *arg)
{
	struct nmdm_spec s;
	return nmdm_parse(name, arg, true, &s);
}

static char other(char end)
{
	return end == 'A' ? 'B' : 'A';
}

static void end_path(const struct nmdm *m, char end, const char *suffix, char *out, size_t len)
{
	snprintf(out, len, "%s/%s-%c%s", m->dir, m->spec.name, end, suffix);
}

/* --- locks --- */

static int open_lock(const char *path, int how)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, how) < 0) {
		if (errno == EINTR)
			continue;
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int lock_end(const struct nmdm *m, char end)
{
	char path[512];
	end_path(m, end, ".lock", path, sizeof(path));
	return open_lock(path, LOCK_EX | LOCK_NB);
}

static bool end_alive(const struct nmdm *m, char end)
{
	int fd = lock_end(m, end);
	if (fd >= 0)
		close(fd);
	return fd == -EWOULDBLOCK;
}

/* Held only for the few steps of joining and leaving, so waiting for it is short. */
static int lock_dir(const struct nmdm *m)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/lock", m->dir);
	return open_lock(path, LOCK_EX);
}

/* --- joining; directory locked --- */

static void peer_gone(struct chr_client *cl)
{
	struct nmdm *m = cl->arg;
	m->peer = false;
	ev_arm(m->retry, 1);    /* not here: the client is still being taken apart */
}

static int join_existing(struct nmdm *m)
{
	char path[512];
	end_path(m, m->spec.end, "", path, sizeof(path));
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = chr_tty_raw(fd);
	if (err) {
		close(fd);
		return err;
	}
	struct chr_client proto = { .out = CHR_OUT_WRITE, .gone = peer_gone, .arg = m, .no_replay = true };
	err = chr_attach_fd(m->c, fd, &proto);
	m->peer = !err;
	return err;
}

/* A VM on the other side would take old output for input; a terminal program wants to see it. */
static bool other_is_vm(void *arg)
{
	const struct nmdm *m = arg;
	int dir_fd = lock_dir(m);       /* end_alive() must not be what makes the other one find its end taken */
	bool yes = end_alive(m, other(m->spec.end));
	if (dir_fd >= 0)
		close(dir_fd);
	return yes;
}

static int make_pair(struct nmdm *m)
{
	char link[512];
	m->pty = chr_pty_new(m->c, other_is_vm, m);
	if (!m->pty)
		return -errno;
	end_path(m, other(m->spec.end), "", link, sizeof(link));
	unlink(link);
	if (symlink(chr_pty_path(m->pty), link) < 0) {
		int err = err_sys("%s: null modem: link '%s'", m->c->name, link);
		chr_pty_free(m->pty);
		m->pty = NULL;
		return err;
	}
	log_info("char", "%s: null modem: the other end is %s", m->c->name, link);
	return 0;
}

static int take_end(struct nmdm *m)
{
	bool either = !m->spec.end;
	m->spec.end = either ? 'A' : m->spec.end;
	m->lock_fd = lock_end(m, m->spec.end);
	if (m->lock_fd == -EWOULDBLOCK && either) {
		m->spec.end = 'B';
		m->lock_fd = lock_end(m, m->spec.end);
	}
	if (m->lock_fd == -EWOULDBLOCK)
		return err_msg(-EBUSY, "%s: null modem '%s': %s in use; choose another name, or end a VM that `skep list` shows",
			       m->c->name, m->spec.name, either ? "both ends are" : m->spec.end == 'A' ? "end A is" : "end B is");
	return m->lock_fd < 0 ? err_msg(m->lock_fd, "%s: null modem '%s': %s", m->c->name, m->spec.name, strerror(-m->lock_fd)) : 0;
}

static int join(struct nmdm *m)
{
	if (end_alive(m, other(m->spec.end)) && join_existing(m) == 0)
		return 0;
	return make_pair(m);
}

static void rejoin(void *arg, uint32_t events)
{
	struct nmdm *m = arg;
	(void)events;
	if (m->pty || m->peer)
		return;
	int dir_fd = lock_dir(m);
	if (dir_fd < 0 || join(m) < 0)
		ev_arm(m->retry, RETRY_NS);
	if (dir_fd >= 0)
		close(dir_fd);
}

/* --- the back end --- */

static void nmdm_free(struct nmdm *m)
{
	char link[512];
	int dir_fd = m->dir ? lock_dir(m) : -1;
	if (m->pty) {
		end_path(m, other(m->spec.end), "", link, sizeof(link));
		unlink(link);
		chr_pty_free(m->pty);
	}
	ev_del(m->retry);
	if (m->lock_fd >= 0)
		close(m->lock_fd);
	if (dir_fd >= 0)
		close(dir_fd);
	free(m->dir);
	free(m);
}

/* Creates the directory and its parent, which a rundir_path() alone does not. */
static int make_dir(struct nmdm *m)
{
	m->dir = rundir_path(".nmdm");
	if (!m->dir)
		return -ENOMEM;
	char *slash = strrchr(m->dir, '/');
	if (slash && slash != m->dir) {
		*slash = '\0';
		mkdir(m->dir, 0700);
		*slash = '/';
	}
	struct stat st;
	if ((mkdir(m->dir, 0700) < 0 && errno != EEXIST) || lstat(m->dir, &st) < 0)
		return err_sys("%s: null modem: directory '%s'", m->c->name, m->dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return err_msg(-EPERM, "%s: null modem: '%s' belongs to somebody else; remove it or set XDG_RUNTIME_DIR",
			       m->c->name, m->dir);
	return 0;
}

static int nmdm_start(struct nmdm *m)
{
	int err = make_dir(m);
	if (err)
		return err;
	m->retry = ev_timer(m->c->loop, rejoin, m);
	if (!m->retry)
		return -EMFILE;
	int dir_fd = lock_dir(m);
	if (dir_fd < 0)
		return err_msg(dir_fd, "%s: null modem: directory '%s': %s", m->c->name, m->dir, strerror(-dir_fd));
	err = take_end(m);
	if (!err)
		err = join(m);
	close(dir_fd);
	return err;
}

static int nmdm_open(struct chardev *c, const struct nmdm_spec *s)
{
	struct nmdm *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct nmdm){ .c = c, .spec = *s, .lock_fd = -1 };
	int err = nmdm_start(m);
	if (err) {
		nmdm_free(m);
		return err;
	}
	c->priv = m;
	return 0;
}

static int open_plain(struct chardev *c, const char *arg)
{
	struct nmdm_spec s;
	int err = nmdm_parse(c->name, arg, false, &s);
	return err ? err : nmdm_open(c, &s);
}

static int open_dev(struct chardev *c, const char *arg)
{
	struct nmdm_spec s;
	int err = nmdm_parse(c->name, arg, true, &s);
	return err ? err : nmdm_open(c, &s);
}

static void nmdm_close(struct chardev *c)
{
	nmdm_free(c->priv);
}

const struct chr_backend chr_nmdm = { .prefix = "nmdm=", .check = check_plain, .open = open_plain, .close = nmdm_close };
const struct chr_backend chr_nmdm_dev = { .prefix = "/dev/nmdm", .check = check_dev, .open = open_dev, .close = nmdm_close };
