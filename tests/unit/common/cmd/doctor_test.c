/*
 * The KVM half of doctor against hosts made of a few files.
 */
#include <sys/stat.h>

#include "tests/unit/common/cmd/fakehost.h"

START_TEST(test_no_kvm)
{
	start();
	doctor_kvm(&d, false);
	FOUND("fail", "kvm", "the kernel needs CONFIG_KVM and must be started at EL2");
	put("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu vmxx svm2 sse\n");
	doctor_kvm(&d, false);
	FOUND("fail", "kvm", "the CPU shows neither VT-x nor SVM");
	put("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu vmx sse\n");
	doctor_kvm(&d, false);
	FOUND("fail", "kvm", "run 'modprobe kvm_intel' as root; if that is refused, switch on VT-x in the firmware setup");
	put("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu sse svm\n");
	doctor_kvm(&d, false);
	FOUND("fail", "kvm", "run 'modprobe kvm_amd' as root; if that is refused, switch on SVM in the firmware setup");
	ck_assert(!d.can_run);
	stop();
}
END_TEST

START_TEST(test_not_kvm)
{
	start();
	put("/dev/kvm", "");
	doctor_kvm(&d, true);
	FOUND("fail", "kvm", "/dev/kvm is not KVM's device");
	ck_assert(!d.can_run);
	stop();
}
END_TEST

START_TEST(test_kvm_without_permission)
{
	char path[128], want[160];
	struct stat st;

	if (geteuid() == 0)
		return;                 /* root may open everything */
	start();
	put("/dev/kvm", "");
	snprintf(path, sizeof(path), "%s/dev/kvm", root);
	ck_assert_int_eq(chmod(path, 0020), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	snprintf(want, sizeof(want), "root:x:0:\nkvm:x:%u:\n", (unsigned)st.st_gid);
	put("/etc/group", want);
	doctor_kvm(&d, true);
	FOUND("fail", "kvm", "run 'usermod -aG kvm USER' as root, then log in again");
	stop();
}
END_TEST

START_TEST(test_helpers)
{
	char line[64];

	start();
	put("/a/one", "first\nsecond\n");
	put("/a/two", "");
	put("/a/.hidden", "");
	ck_assert(doctor_read(&d, "/a/one", line, sizeof(line)));
	ck_assert_str_eq(line, "first");
	ck_assert(!doctor_read(&d, "/a/two", line, sizeof(line)));
	ck_assert(!doctor_read(&d, "/a/none", line, sizeof(line)));
	ck_assert_int_eq(doctor_count(&d, "/a", ""), 2);
	ck_assert_int_eq(doctor_count(&d, "/a", "o"), 1);
	ck_assert_int_eq(doctor_count(&d, "/b", ""), -1);
	stop();
}
END_TEST

UNIT_MAIN("common/cmd/doctor", test_no_kvm, test_not_kvm, test_kvm_without_permission, test_helpers)
