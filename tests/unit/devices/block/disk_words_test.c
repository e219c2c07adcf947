/* Several disks on one command line, as virtio-scsi takes them. */
#include <errno.h>
#include <unistd.h>

#include "devices/block/disk.h"
#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static int word(struct conf *conf, const char *w)
{
	return virtio_scsi_class.conf_word(conf, "pci.0.3.0", w, "test");
}

START_TEST(words)
{
	struct conf *conf = conf_new();
	struct capture cap;

	ck_assert_int_eq(word(conf, "hd:/a"), 0);
	ck_assert_int_eq(word(conf, "ro"), 0);
	ck_assert_int_eq(word(conf, "ser=X"), 0);
	ck_assert_int_eq(word(conf, "cd:/b"), 0);
	ck_assert_int_eq(word(conf, "bootindex=1"), 0);
	ck_assert_int_eq(word(conf, "cd:"), 0);
	ck_assert_int_eq(word(conf, "queues=2"), 1);
	ck_assert_int_eq(word(conf, "target.7.path=/c"), 1);
	ck_assert_int_eq(word(conf, "nonsense"), 1);
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.0.path"), "/a");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.0.ro"), "true");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.0.ser"), "X");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.1.type"), "cd");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.1.bootindex"), "1");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.2.type"), "cd");
	ck_assert_ptr_null(conf_raw(conf, "pci.0.3.0.target.2.path"));
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(word(conf, "hd:"), -EINVAL);
	ck_assert_int_eq(word(conf, "/dev/cam/ctl1.3"), -EINVAL);
	ck_assert_int_eq(word(conf, "dev=/dev/cam/ctl"), -EINVAL);
	ck_assert_int_eq(word(conf, "iid=3"), -EINVAL);
	capture_stop(&cap);
	conf_free(conf);
}
END_TEST

/* A bare word is a disk when it comes first, and no option's name. */
START_TEST(bare)
{
	struct conf *conf = conf_new();

	ck_assert_int_eq(word(conf, "ro"), 1);
	ck_assert_int_eq(word(conf, "queues"), 1);
	ck_assert_int_eq(word(conf, "/a"), 0);
	ck_assert_int_eq(word(conf, "/b"), 1);
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.0.path"), "/a");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.0.type"), "hd");
	conf_free(conf);
}
END_TEST

START_TEST(full)
{
	struct conf *conf = conf_new();
	struct capture cap;
	const struct opt *opts = virtio_scsi_class.opts;

	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(disk_conf_word(conf, "pci.0.3.0", "target", 3, opts, "cd:", "test"), 0);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(disk_conf_word(conf, "pci.0.3.0", "target", 3, opts, "hd:/a", "test"), -EINVAL);
	capture_stop(&cap);
	ck_assert_int_eq(disk_conf_word(conf, "pci.0.3.0", "target", 3, opts, "ro", "test"), 0);
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.target.2.ro"), "true");
	conf_free(conf);
}
END_TEST

UNIT_MAIN("devices/block/disk_words", words, bare, full)
