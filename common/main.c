/*
 * skep, a hypervisor on KVM for x86-64 and arm64.
 */
#include "common/cmd/cmd.h"

int main(int argc, char **argv)
{
	return cmd_main(argc, argv);
}
