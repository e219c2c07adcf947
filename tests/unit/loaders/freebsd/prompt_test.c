/* The prompt over a host0: directory of hand-made files: what is typed, what is said, what is left in the set. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "loaders/freebsd/prompt.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/kldfile.h"
#include "tests/unit/unit.h"

struct console {
	char dir[64];
	struct conf *conf;
	struct fbsd_set *set;
	struct prompt *prompt;
	char text[1 << 17];             /* since the last line was entered */
	size_t len;
	int end;
};

static struct console c;

static void take_text(void *arg, const char *text, size_t len)
{
	struct console *con = arg;

	ck_assert_uint_lt(con->len + len, sizeof(con->text));
	memcpy(con->text + con->len, text, len);
	con->len += len;
	con->text[con->len] = '\0';
}

static void put_file(const char *path, const void *data, size_t len)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", c.dir, path);
	FILE *f = fopen(full, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	fclose(f);
}

static void put_text(const char *path, const char *text)
{
	put_file(path, text, strlen(text));
}

static void put_kld(const char *path, uint16_t machine, bool kernel, const struct kld_rec *recs, unsigned n)
{
	struct kld_file f;

	kld_make(&f, machine, kernel ? ET_EXEC : machine == EM_AARCH64 ? ET_DYN : ET_REL, 0, recs, n);
	put_file(path, f.data, f.len);
	free(f.data);
}

static void put_dir(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", c.dir, path);
	ck_assert_int_eq(mkdir(full, 0755), 0);
}

static const struct kld_rec kernel_recs[] = { { 3, "kernel", { 1500068 } }, { 3, "cam", { 1 } } };
static const struct kld_rec mod1_recs[] = { { 3, "mod1", { 1 } }, { 1, "kernel", { 1500000, 1500068, 1599999 } } };
static const struct kld_rec mod2_recs[] = { { 3, "mod2", { 4 } }, { 1, "mod1", { 1, 1, 1 } } };
static const struct kld_rec bad_recs[] = { { 3, "bad", { 1 } }, { 1, "absent", { 1, 1, 1 } } };
static const struct kld_rec old_recs[] = { { 3, "old", { 1 } }, { 1, "kernel", { 1400000, 1400000, 1499999 } } };

static void start(const char *arch, uint16_t machine)
{
	memset(&c, 0, sizeof(c));
	snprintf(c.dir, sizeof(c.dir), "/tmp/skep-prompt-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(c.dir));
	put_dir("boot");
	put_dir("boot/kernel");
	put_dir("boot/kernel.old");
	put_text("boot/loader.conf", "kern.hz=\"100\"\nmod1_load=\"YES\"\n");
	put_text("boot/note", "line 1\nline \x1b[2J\nend");
	put_text("boot/disk.img", "an image");
	put_kld("boot/kernel/kernel", machine, true, kernel_recs, NELEM(kernel_recs));
	put_kld("boot/kernel.old/kernel", machine, true, kernel_recs, NELEM(kernel_recs));
	put_kld("boot/kernel/mod1.ko", machine, false, mod1_recs, NELEM(mod1_recs));
	put_kld("boot/kernel/mod2.ko", machine, false, mod2_recs, NELEM(mod2_recs));
	put_kld("boot/kernel/bad.ko", machine, false, bad_recs, NELEM(bad_recs));
	put_kld("boot/kernel/old.ko", machine, false, old_recs, NELEM(old_recs));
	c.conf = conf_new();
	conf_set(c.conf, "arch", arch, "test");
	conf_set(c.conf, "loader.hostdir", c.dir, "test");
	ck_assert_int_eq(fbsd_collect(c.conf, NULL, &c.set), 0);
	c.prompt = prompt_new(c.conf, c.set, take_text, &c);
}

static void setup(void)
{
	start("x86", EM_X86_64);
}

static void stop(void)
{
	char cmd[128];

	prompt_free(c.prompt);
	fbsd_free(c.set);
	conf_free(c.conf);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", c.dir);
	ck_assert_int_eq(system(cmd), 0);
}

/* Types bytes; what they made is in c.text. */
static const char *keys(const char *bytes)
{
	c.len = 0;
	c.text[0] = '\0';
	c.end = 0;
	for (; *bytes && !c.end; bytes++)
		c.end = prompt_input(c.prompt, (uint8_t)*bytes);
	return c.text;
}

/* Enters a line; the answer without the line's echo and without the prompt behind it. */
static const char *line(const char *text)
{
	char buf[2048];

	snprintf(buf, sizeof(buf), "%s\r", text);
	const char *got = keys(buf);

	ck_assert_uint_ge(c.len, strlen(text) + 2);
	got += strlen(text) + 2;
	if (!c.end) {
		ck_assert_str_eq(c.text + c.len - 3, "OK ");
		c.text[c.len - 3] = '\0';
	}
	return got;
}

static void has(const char *text, const char *part, unsigned at)
{
	ck_assert_msg(strstr(text, part) != NULL, "line %u: '%s' lacks '%s'", at, text, part);
}

#define HAS(text, part) has(text, part, __LINE__)
#define SAYS(command, want) ck_assert_str_eq(line(command), want)

START_TEST(greeting)
{
	setup();
	HAS(c.text, "'boot' starts /boot/kernel/kernel.\r\nOK ");
	ck_assert_ptr_eq(strstr(c.text, "\n\n"), NULL);
	stop();
}
END_TEST

START_TEST(editing)
{
	setup();
	ck_assert_str_eq(keys("echo ab\x7f" "c\r"), "echo ab\b \bc\r\nac\r\nOK ");
	ck_assert_str_eq(keys("\b\x7f"), "");
	ck_assert_str_eq(keys("xyz\x15" "echo 1\n"), "xyz\b \b\b \b\b \becho 1\r\n1\r\nOK ");
	ck_assert_str_eq(keys("echo one two\x17three\r"), "echo one two\b \b\b \b\b \bthree\r\none three\r\nOK ");
	ck_assert_str_eq(keys("garbage\x03" "echo 2\r\n"), "garbage^C\r\nOK echo 2\r\n2\r\nOK ");
	ck_assert_str_eq(keys("echo \x1b[A\x1b[1;5C\x1bOHa\x1bxb\r"), "echo ab\r\nab\r\nOK ");
	ck_assert_str_eq(keys("echo \xc3\xa4\x7f" "a\t\x01\r"), "echo \xc3\xa4\b \ba\r\na\r\nOK ");
	ck_assert_str_eq(keys("\r\n\r\n\n"), "\r\nOK \r\nOK \r\nOK ");
	stop();
}
END_TEST

START_TEST(long_line)
{
	char text[4000];

	setup();
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	const char *got = keys(text);

	ck_assert_uint_eq(strspn(got, "a"), PROMPT_LINE_MAX - 1);
	ck_assert_uint_eq(strspn(got + PROMPT_LINE_MAX - 1, "\a"), sizeof(text) - PROMPT_LINE_MAX);
	HAS(keys("\r"), "the line is too long");
	SAYS("echo still here", "still here\r\n");
	stop();
}
END_TEST

START_TEST(quoting)
{
	setup();
	SAYS("set a=1", "");
	SAYS("set b=\"two words\"", "");
	SAYS("echo $a ${b} $(a)x ${nothing}y $", "1 two words 1x y $\r\n");
	SAYS("echo '$a' \"$b\" \\$a a\\ b", "$a two words $a a b\r\n");
	SAYS("echo \"it's\" 'a \"q\"' x\"y z\"w", "it's a \"q\" xy zw\r\n");
	SAYS("echo \"\" '' .", "  .\r\n");
	SAYS("echo a\\tb", "a\tb\r\n");
	SAYS("echo -n x", "x");
	SAYS("echo \"open", "a quotation mark is missing\r\n");
	SAYS("echo ${open", "a variable's name has no closing brace\r\n");
	SAYS("echo 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3", "too many words\r\n");
	for (char name = 'c'; name < 'i'; name++) {             /* each twice the one before */
		char cmd[32];

		snprintf(cmd, sizeof(cmd), "set %c=$%c$%c", name, name - 1, name - 1);
		line(cmd);
	}
	SAYS("echo $h$h", "the line is too long, or what its variables stand for\r\n");
	stop();
}
END_TEST

START_TEST(variables)
{
	setup();
	SAYS("show kern.hz", "100\r\n");
	SAYS("set boot_verbose=YES", "");
	SAYS("show boot_verbose", "YES\r\n");
	HAS(line("show"), "boot_verbose=YES\r\n");
	HAS(line("show"), "kern.hz=100\r\n");
	SAYS("unset boot_verbose", "");
	SAYS("show boot_verbose", "variable 'boot_verbose' not found\r\n");
	SAYS("unset boot_verbose", "variable 'boot_verbose' not found\r\n");
	SAYS("set empty", "");
	SAYS("show empty", "\r\n");
	HAS(line("set =x"), "1 to 127 characters");
	HAS(line("set 'a b=x'"), "no spaces");
	HAS(line("set a = b"), "wrong number of arguments: set NAME=VALUE");
	HAS(line("frob"), "unknown command 'frob'");
	stop();
}
END_TEST

START_TEST(variables_bounded)
{
	setup();
	for (unsigned i = 0; i < PROMPT_VARS_MAX; i++) {
		char cmd[32];

		snprintf(cmd, sizeof(cmd), "set v%u=1", i);
		line(cmd);
	}
	HAS(line("set more=1"), "no more fit");
	HAS(line("set more_load=YES"), "no more fit");
	SAYS("set v0=2", "");
	SAYS("show v0", "2\r\n");
	stop();
}
END_TEST

START_TEST(list)
{
	setup();
	SAYS("ls", "/\r\n d  boot\r\n");
	SAYS("ls host0:/boot/kernel.old", "host0:/boot/kernel.old\r\n    kernel\r\n");
	SAYS("ls boot", "boot\r\n    disk.img\r\n d  kernel\r\n d  kernel.old\r\n    loader.conf\r\n    note\r\n");
	HAS(line("ls -l /boot"), "          8 disk.img\r\n");
	SAYS("ls -l /boot/disk.img", "          8 /boot/disk.img\r\n");
	SAYS("ls /boot/none", "/boot/none: No such file or directory\r\n");
	SAYS("ls a b", "ls: one path at a time: ls [-l] [PATH]\r\n");
	stop();
}
END_TEST

/* A host without openat2 says why it follows neither links nor "..". */
static void outside(const char *command, const char *path)
{
	const char *got = line(command);

	ck_assert_uint_eq(strncmp(got, path, strlen(path)), 0);
	got += strlen(path);
	bool same = strcmp(got, "No such file or directory\r\n") == 0 || strncmp(got, "leads through a link", 20) == 0;

	ck_assert_msg(same, "%s", got);
}

/* Whoever types sees the directory of -h and nothing else of the host. */
START_TEST(confined)
{
	char path[128];

	setup();
	snprintf(path, sizeof(path), "%s/up", c.dir);
	ck_assert_int_eq(symlink("../../../../etc", path), 0);
	snprintf(path, sizeof(path), "%s/boot/pipe", c.dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	outside("ls /../../etc", "/../../etc: ");
	outside("more ../../../etc/passwd", "../../../etc/passwd: ");
	outside("more /up/passwd", "/up/passwd: ");
	SAYS("more /boot/pipe", "/boot/pipe: not a file\r\n");
	SAYS("more /boot", "/boot: not a file\r\n");
	SAYS("ls /boot/pipe", " f  /boot/pipe\r\n");
	SAYS("load /boot/kernel/kernel", "/boot/kernel/kernel (elf kernel, 0x4a2)\r\n");
	HAS(line("load -t md_image /etc/passwd"), "No such file");
	HAS(line("load -t md_image /boot/pipe"), "pipe");
	HAS(line("load /bin/sh"), "No such file");
	ck_assert_uint_eq(c.set->nfiles, 1);
	stop();
}
END_TEST

START_TEST(more)
{
	setup();
	SAYS("more /boot/note", "line 1\r\nline ?[2J\r\nend\r\n");
	SAYS("more /boot/none", "/boot/none: No such file or directory\r\n");
	char *big = calloc(1, 257 << 10);

	put_file("boot/big", big, 257 << 10);
	free(big);
	SAYS("more /boot/big", "/boot/big: the file is too large\r\n");
	stop();
}
END_TEST

START_TEST(include)
{
	setup();
	put_text("boot/script", "# a comment\r\n\r\nset x=1\r\necho x is $x\n");
	put_text("boot/again", "include /boot/again\n");
	put_text("boot/wrong", "echo 1\nfrob\necho 2\n");
	put_file("boot/binary", "a\0b", 3);
	put_text("boot/go", "load kernel\nboot -s\necho never\n");
	SAYS("include /boot/script", "x is 1\r\n");
	HAS(line("include /boot/again"), "include each other more than 4 deep");
	SAYS("include /boot/wrong",
	     "1\r\nunknown command 'frob': '?' lists the commands\r\ninclude: stopped at line 2 of /boot/wrong\r\n");
	SAYS("include /boot/binary", "include: /boot/binary is no text file\r\n");
	SAYS("include /boot/none", "/boot/none: No such file or directory\r\n");
	line("include /boot/go");
	ck_assert_int_eq(c.end, PROMPT_BOOT);
	ck_assert_ptr_null(strstr(c.text, "never"));
	stop();
}
END_TEST

/* Four files deep, each naming the next one as often as fits: without a bound that would take years. */
START_TEST(include_bounded)
{
	char text[KIB(64)] = "", name[16], next[32];

	setup();
	for (unsigned i = 1; i <= 4; i++) {
		size_t n = (size_t)snprintf(next, sizeof(next), i < 4 ? "include /%u\n" : "set x=%u\n", i + 1), len = 0;

		while (len + n < sizeof(text) - 1) {
			memcpy(text + len, next, n);
			len += n;
		}
		snprintf(name, sizeof(name), "%u", i);
		put_file(name, text, len);
	}
	HAS(line("include /1"), "include: that is more than 10000 lines\r\ninclude: stopped at line ");
	SAYS("include /4", "");                                 /* the count begins anew; 7281 lines */
	SAYS("show x", "5\r\n");
	stop();
}
END_TEST

static void check_load(void)
{
	HAS(line("load -t md_image /boot/disk.img"), "can't load a file before the kernel");
	HAS(line("load nokernel"), "can't find 'nokernel'");
	HAS(line("load kernel -v one"), "/boot/kernel/kernel (elf kernel, 0x");
	ck_assert_str_eq(c.set->file[0].args, "-v one");
	HAS(line("load mod2 \"a b\" c"), "/boot/kernel/mod2.ko (elf ");
	ck_assert_uint_eq(c.set->nfiles, 3);
	ck_assert_str_eq(c.set->file[1].name, "/boot/kernel/mod1.ko");
	ck_assert_str_eq(c.set->file[2].name, "/boot/kernel/mod2.ko");
	ck_assert_str_eq(c.set->file[2].args, "a b c");
	HAS(line("load mod1"), "'mod1' is loaded already");
	HAS(line("load /boot/kernel/mod2.ko"), "loaded already");
	SAYS("load -t md_image host0:/boot/disk.img", "/boot/disk.img (md_image, 0x8)\r\n");
	HAS(line("lsmod"), " /boot/kernel/kernel (elf kernel, 0x");
	HAS(c.text, "    args: -v one\r\n  modules: kernel.1500068 cam.1\r\n");
	HAS(c.text, "    args: a b c\r\n  modules: mod2.4\r\n");
	HAS(c.text, " /boot/disk.img (md_image, 0x8)\r\n");
	ck_assert_ptr_null(strstr(c.text, "depends"));
	HAS(line("lsmod -v"), "  modules: mod2.4\r\n  depends on mod1.1 (1,1)\r\n");
	HAS(line("lsmod -x"), "unknown option '-x'");
	HAS(line("load -x"), "unknown option '-x'");
	HAS(line("load -t x"), "-t takes a type and a file");
	SAYS("unload", "");
	SAYS("lsmod", "");
	SAYS("show kernelname", "variable 'kernelname' not found\r\n");
	SAYS("show kern.hz", "100\r\n");
}

START_TEST(load)
{
	setup();
	check_load();
	stop();
	start("arm64", EM_AARCH64);
	check_load();
	stop();
}
END_TEST

/* Why loading failed is said on the console, not on skep's standard error; nothing half-loaded stays. */
START_TEST(load_refused)
{
	static struct capture cap;
	struct kld_file f;

	setup();
	kld_make(&f, EM_AARCH64, ET_EXEC, 0, kernel_recs, 1);
	put_file("boot/arm", f.data, f.len);
	put_file("boot/short", f.data, f.len - 100);
	free(f.data);
	capture_start(&cap, STDERR_FILENO);
	HAS(line("load /boot/arm"), "arm64");
	HAS(line("load /boot/short"), "is cut off");
	HAS(line("load /boot/note"), "/boot/note");
	HAS(line("load /boot"), "/boot");
	ck_assert_uint_eq(c.set->nfiles, 0);
	HAS(line("load kernel"), "(elf kernel");
	HAS(line("load bad"), "absent");
	HAS(line("load old"), "1400000");
	HAS(line("load /boot/note"), "is no ELF file");
	HAS(line("load nothing"), "nothing");
	ck_assert_uint_eq(c.set->nfiles, 1);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "");
	SAYS("echo on", "on\r\n");
	stop();
}
END_TEST

START_TEST(boot)
{
	setup();
	line("boot -sv");
	ck_assert_int_eq(c.end, PROMPT_BOOT);
	HAS(c.text, "Booting /boot/kernel/kernel\r\n");
	ck_assert_uint_eq(c.set->nfiles, 2);            /* loader.conf's mod1 too */
	ck_assert_str_eq(c.set->file[1].name, "/boot/kernel/mod1.ko");
	ck_assert_uint_eq(c.set->howto & (FBSD_RB_SINGLE | FBSD_RB_VERBOSE | FBSD_RB_ASKNAME), FBSD_RB_SINGLE | FBSD_RB_VERBOSE);
	ck_assert_str_eq(fbsd_getenv(c.set, "boot_single"), "YES");
	stop();
	setup();
	SAYS("set mod1_load=NO", "");
	line("boot kernel.old -a -d");
	ck_assert_int_eq(c.end, PROMPT_BOOT);
	ck_assert_uint_eq(c.set->nfiles, 1);
	ck_assert_str_eq(c.set->file[0].name, "/boot/kernel.old/kernel");
	ck_assert_uint_eq(c.set->howto & (FBSD_RB_KDB | FBSD_RB_ASKNAME), FBSD_RB_KDB | FBSD_RB_ASKNAME);
	stop();
}
END_TEST

START_TEST(boot_refused)
{
	char path[128];

	setup();
	HAS(line("boot -z"), "no boot flag 'z'");
	HAS(line("boot a b"), "one kernel at a time");
	HAS(line("boot /boot/none"), "No such file");
	HAS(line("load kernel"), "elf kernel");
	HAS(line("boot kernel.old"), "a kernel is loaded already");
	SAYS("unload", "");
	snprintf(path, sizeof(path), "%s/boot/kernel/mod1.ko", c.dir);
	put_kld("boot/kernel/mod1.ko", EM_X86_64, false, bad_recs, NELEM(bad_recs));
	HAS(line("boot"), "not all modules of loader.conf are loaded");
	ck_assert_int_eq(c.end, 0);
	SAYS("unload", "");
	ck_assert_int_eq(unlink(path), 0);
	line("boot");           /* a module that is not there is a warning, as for the loader */
	ck_assert_int_eq(c.end, PROMPT_BOOT);
	HAS(c.text, "warning: mod1_load");
	keys("");
	prompt_divert(c.prompt, true);
	prompt_resume(c.prompt, -ENOMEM);
	prompt_divert(c.prompt, false);
	ck_assert_str_eq(c.text, "can't boot: Cannot allocate memory\r\nOK ");
	keys("");
	prompt_divert(c.prompt, true);
	err_msg(-ENOSPC, "RAM is too small");
	prompt_divert(c.prompt, false);
	prompt_resume(c.prompt, -ENOSPC);
	ck_assert_str_eq(c.text, "RAM is too small\r\nOK ");
	stop();
}
END_TEST

START_TEST(leave)
{
	setup();
	line("reboot");
	ck_assert_int_eq(c.end, PROMPT_REBOOT);
	line("quit");
	ck_assert_int_eq(c.end, PROMPT_QUIT);
	HAS(line("quit now"), "wrong number of arguments");
	ck_assert_int_eq(c.end, 0);
	stop();
}
END_TEST

START_TEST(help)
{
	setup();
	HAS(line("?"), "  lsmod    [-v]");
	for (const struct prompt_cmd *cmd = prompt_cmds; cmd->name; cmd++) {
		char text[64];

		HAS(line("help"), cmd->help);
		snprintf(text, sizeof(text), "help %s", cmd->name);
		HAS(line(text), cmd->help);
	}
	HAS(line("help boot"), "-s single user");
	SAYS("help frob", "no help available for 'frob'\r\n");
	stop();
}
END_TEST

START_TEST(no_hostdir)
{
	setup();
	struct conf *bare = conf_new();

	conf_set(bare, "arch", "x86", "test");
	prompt_free(c.prompt);
	c.prompt = prompt_new(bare, c.set, take_text, &c);
	SAYS("ls", "there is no host0: here: start skep with -h DIR\r\n");
	SAYS("more x", "there is no host0: here: start skep with -h DIR\r\n");
	SAYS("load kernel", "there is no host0: here: start skep with -h DIR\r\n");
	SAYS("boot", "there is no host0: here: start skep with -h DIR\r\n");
	stop();
	conf_free(bare);
}
END_TEST

UNIT_MAIN("loaders/freebsd/prompt", greeting, editing, long_line, quoting, variables, variables_bounded, list, confined, more,
	  include, include_bounded, load, load_refused, boot, boot_refused, leave, help, no_hostdir)
