# tests/crash: the long crash tests of disk images.  Included by the top Makefile behind the unit tests; wants O, LINK, LIBS, LIB_PATH,
# TEST_LIBS, TEST_HELPERS, Q and say.
#
#	make crash && build/x86/tests/crash/crash -t 600 -s 1000

CRASH_BIN := $O/tests/crash/crash

.PHONY: crash
crash: $(STAMPS)/test $(CRASH_BIN)

$(CRASH_BIN): $O/obj/tests/crash/main.o $(TEST_HELPERS:%.c=$O/obj/%.o) $O/libskep.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(LINK) -o $@ $^ $(LIB_PATH) $(TEST_LIBS) $(LIBS)

-include $O/obj/tests/crash/main.d
