# holdfast: `make` builds, `make demo` shows it, `make test` proves it. See README.md.
#
#   make CC=clang …      another compiler        make SANITIZE=1 …   with ASan and UBSan
#   make BUILD=DIR …     another place to build  make install DESTDIR= PREFIX=/usr/local

SANITIZE ?= 0
PREFIX   ?= /usr/local
ifeq ($(SANITIZE),1)
BUILD    ?= build-sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else
BUILD    ?= build
endif

PACKAGES = build-essential pkg-config libevent-dev libconfig-dev libcmocka-dev libjansson-dev \
           libedit-dev
TEST_PACKAGES  = $(PACKAGES) redis-tools python3 iproute2 nftables libhiredis-dev python3-redis
CHECK_PACKAGES = $(PACKAGES) libhiredis-dev clang-format clang-tidy cppcheck
FUZZ_PACKAGES  = $(PACKAGES) clang libclang-rt-14-dev python3
COVERAGE_PACKAGES = $(TEST_PACKAGES) lcov
MODEL_PACKAGES = build-essential spin
BENCH_PACKAGES = $(PACKAGES) redis-server redis-tools python3

LIBRARIES = libevent libevent_extra libconfig jansson
WARNINGS  = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
CFLAGS   ?= -O2 -g
ALL_CPPFLAGS = -D_GNU_SOURCE -I. $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null) $(CPPFLAGS)
ALL_CFLAGS   = -std=c11 $(WARNINGS) $(CFLAGS) $(SANITIZERS)
ALL_LDFLAGS  = $(SANITIZERS) $(LDFLAGS)
LDLIBS       = $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -ldl -lm -lpthread

# As many jobs as there are processors, unless make was already told how many.
JOBS      = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

FOLDERS   = common server lfd gfd rm client
sources   = $(filter-out %main.c,$(wildcard $(1)/*.c $(1)/services/*.c))
objects   = $(patsubst %.c,$(BUILD)/%.o,$(call sources,$(1)))
ARCHIVES  = $(foreach f,$(FOLDERS),$(BUILD)/lib$(f).a)
BINARIES  = $(addprefix $(BUILD)/bin/,holdfast holdfast-server holdfast-lfd holdfast-gfd \
              holdfast-rm holdfast-client holdfast-sim holdfast-linearizable)
UNIT_TESTS = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
FUZZ_TARGETS = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
EXAMPLES  = $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/services/*.c))
C_FILES   = $(wildcard common/*.[ch] server/*.[ch] server/services/*.[ch] lfd/*.[ch] gfd/*.[ch] \
              rm/*.[ch] client/*.[ch] tests/*/*.[ch])

.PHONY: all demo test unit sim mutants corpus fuzz coverage cluster torment bench model check format deps \
        deps-test deps-check deps-coverage deps-fuzz deps-model deps-bench install clean
.SECONDARY:
.DELETE_ON_ERROR:

all: deps
	@$(MAKE) --no-print-directory $(JOBS) binaries

.PHONY: binaries fuzz-targets fuzz-seeds
binaries: $(BINARIES) $(UNIT_TESTS) $(FUZZ_TARGETS) $(BUILD)/tests/fuzz/seeds $(EXAMPLES)

fuzz-targets: $(FUZZ_TARGETS)
fuzz-seeds: $(BUILD)/tests/fuzz/seeds
	$< tests/fuzz/corpus

# Each target installs the Debian packages that it needs and that are missing.
deps:       ; @.ci/deps $(PACKAGES)
deps-test:  ; @.ci/deps $(TEST_PACKAGES)
deps-check: ; @.ci/deps $(CHECK_PACKAGES)
deps-coverage: ; @.ci/deps $(COVERAGE_PACKAGES)
deps-fuzz:  ; @.ci/deps $(FUZZ_PACKAGES)
deps-model: ; @.ci/deps $(MODEL_PACKAGES)
deps-bench: ; @.ci/deps $(BENCH_PACKAGES)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC -MMD -MP -c -o $@ $<

define archive
$(BUILD)/lib$(1).a: $$(call objects,$(1))
	@rm -f $$@
	@mkdir -p $$(@D)
	ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive,$(f))))

$(BUILD)/libsimulator.a: $(call objects,tests/simulator) $(call objects,tests/linearizability)
	@rm -f $@
	ar rcs $@ $^

comma = ,
link = @mkdir -p $(@D) && echo "$(CC) -o $@" && \
       $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) $(1)

$(BUILD)/bin/holdfast-server: $(BUILD)/server/main.o $(BUILD)/libserver.a $(BUILD)/libcommon.a
	$(call link,-Wl$(comma)--export-dynamic)
$(BUILD)/bin/holdfast-lfd: $(BUILD)/lfd/main.o $(BUILD)/liblfd.a $(BUILD)/libcommon.a
	$(call link)
$(BUILD)/bin/holdfast-gfd: $(BUILD)/gfd/main.o $(BUILD)/libgfd.a $(BUILD)/libcommon.a
	$(call link)
$(BUILD)/bin/holdfast-rm: $(BUILD)/rm/main.o $(BUILD)/librm.a $(BUILD)/libcommon.a
	$(call link)
$(BUILD)/bin/holdfast-client: $(BUILD)/client/main.o $(BUILD)/libclient.a $(BUILD)/libcommon.a
	$(call link,-ledit)
$(BUILD)/bin/holdfast: $(BUILD)/client/operator_main.o $(BUILD)/libclient.a $(BUILD)/libserver.a \
                       $(BUILD)/libcommon.a
	$(call link)
$(BUILD)/bin/holdfast-sim: $(BUILD)/tests/simulator/main.o $(BUILD)/libsimulator.a \
                           $(BUILD)/librm.a $(BUILD)/libgfd.a $(BUILD)/liblfd.a \
                           $(BUILD)/libserver.a $(BUILD)/libclient.a $(BUILD)/libcommon.a
	$(call link)

$(BUILD)/bin/holdfast-linearizable: $(call objects,tests/linearizability) \
                           $(BUILD)/tests/linearizability/main.o $(BUILD)/libcommon.a
	$(call link)

$(BUILD)/tests/unit/test_linearizability: $(call objects,tests/linearizability)
$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(BUILD)/libsimulator.a \
                            $(BUILD)/librm.a $(BUILD)/libgfd.a $(BUILD)/liblfd.a $(BUILD)/libserver.a $(BUILD)/libclient.a $(BUILD)/libcommon.a
	$(call link,-Wl$(comma)--export-dynamic -lcmocka)

# Targets for hostile bytes. With FUZZER=1 libFuzzer gives them, else tests/fuzz/replay.c does.
FUZZER ?= 0
FUZZ_OBJECTS = $(patsubst %,$(BUILD)/tests/fuzz/%.o,arbitrary scratch machines $(if $(filter 0,$(FUZZER)),replay))
$(foreach t,server records segments checkpoint store text_file,$(BUILD)/tests/fuzz/fuzz_$(t)) \
$(BUILD)/tests/fuzz/seeds: $(BUILD)/tests/fuzz/checksums_off.o
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS) $(BUILD)/librm.a \
                            $(BUILD)/libgfd.a $(BUILD)/liblfd.a $(BUILD)/libserver.a \
                            $(BUILD)/libcommon.a
	$(call link,$(if $(filter 1,$(FUZZER)),-fsanitize=fuzzer))
$(BUILD)/tests/fuzz/seeds: $(patsubst %,$(BUILD)/tests/fuzz/%.o,seeds seeds_states seeds_servers seeds_messages scratch) \
                           $(BUILD)/librm.a $(BUILD)/libserver.a $(BUILD)/libcommon.a
	$(call link)

# A program that uses another library; only the tests of clusters need it.
$(BUILD)/tests/cluster/hiredis_client: $(BUILD)/tests/cluster/hiredis_client.o
	$(call link,-lhiredis)

# What users link: one object that shows nothing but holdfast_…
LIBRARY_OBJECTS = $(patsubst %,$(BUILD)/%.o,client/library client/channel client/session \
                    client/address common/buffer common/error common/resp_read common/resp_reply \
                    common/resp_write)
$(BUILD)/libholdfast.a: $(LIBRARY_OBJECTS)
	$(CC) -r -nostdlib -o $(BUILD)/holdfast.o $^
	objcopy --wildcard --keep-global-symbol='holdfast_*' $(BUILD)/holdfast.o
	@rm -f $@
	ar rcs $@ $(BUILD)/holdfast.o

$(BUILD)/tests/services/%.so: tests/services/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fPIC -shared -MMD -MP -o $@ $<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

demo: all
	@$(BUILD)/bin/holdfast -c configs/demo.cfg demo

test: deps-test
	@$(MAKE) --no-print-directory $(JOBS) binaries $(BUILD)/tests/cluster/hiredis_client
	@BUILD=$(BUILD) tests/run unit sim corpus cluster
unit sim corpus cluster: deps-test
	@$(MAKE) --no-print-directory $(JOBS) binaries $(BUILD)/tests/cluster/hiredis_client
	@BUILD=$(BUILD) tests/run $@

# Each target of tests/fuzz for SECONDS; what it finds is kept in build-fuzz/fuzz. Tables that are
# there from the start are small: else an input costs what it takes to make and to free them.
SECONDS ?= 60
fuzz: deps-fuzz
	@$(MAKE) --no-print-directory $(JOBS) CC=clang BUILD=build-fuzz SANITIZE=1 FUZZER=1 \
	    CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' \
	    CPPFLAGS='-DSESSION_COUNT_MAX=256u -DKV_GROUPS=262144u -DSTREAM_COUNT=256u' fuzz-targets
	@BUILD=build-fuzz tests/fuzz/run $(SECONDS) $(TARGETS)

# What the tests reach, of lines and branches. PARTS as for tests/run.
coverage: deps-coverage
	@$(MAKE) --no-print-directory $(JOBS) BUILD=build-coverage CFLAGS='-O0 -g --coverage' \
	    LDFLAGS=--coverage binaries
	@BUILD=build-coverage tests/coverage $(PARTS)

# Each sabotage of tests/mutants/list.py must be found by the simulator.
mutants: deps-test
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/bin/holdfast-sim
	@BUILD=$(BUILD) tests/mutants/run

# MINUTES and SEED, and more options in TORMENT: tests/cluster/README.md.
torment: deps-test
	@$(MAKE) --no-print-directory $(JOBS) binaries
	@BUILD=$(BUILD) tests/cluster/torment --minutes $(or $(MINUTES),10) \
	    $(if $(SEED),--seed $(SEED)) $(TORMENT)

model: deps-model
	@tests/model/run

bench: deps-bench
	@$(MAKE) --no-print-directory $(JOBS) binaries
	@BUILD=$(BUILD) tests/bench/run

check: deps-check
	@.ci/check $(C_FILES)

format: deps-check
	clang-format -i $(C_FILES)

install: all $(BUILD)/libholdfast.a
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/holdfast \
	    $(DESTDIR)$(PREFIX)/include/holdfast/common $(DESTDIR)$(PREFIX)/include/holdfast/server \
	    $(DESTDIR)$(PREFIX)/share/holdfast/configs
	install -m 755 $(filter-out %-sim %-linearizable,$(BINARIES)) $(DESTDIR)$(PREFIX)/bin
	install -m 644 client/holdfast.h $(DESTDIR)$(PREFIX)/include
	install -m 644 $(BUILD)/libholdfast.a $(DESTDIR)$(PREFIX)/lib
	install -m 644 server/service.h $(DESTDIR)$(PREFIX)/include/holdfast/server
	install -m 644 common/buffer.h common/bytes.h common/error.h common/resp.h common/limits.h \
	    common/node.h $(DESTDIR)$(PREFIX)/include/holdfast/common
	install -m 644 configs/*.cfg $(DESTDIR)$(PREFIX)/share/holdfast/configs

clean:
	rm -rf build build-*
