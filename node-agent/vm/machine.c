/* The command line of the one machine. See machine.h. */
#include "node-agent/vm/machine.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char vm_machine_type[] = "pc-q35-7.2";

/*
 * The emulator's cache of translated code, a region that fills as a guest runs.  Paused clones
 * have touched 4 MiB of it whatever the limit; what the limit costs is a running guest's memory,
 * and what it saves is translating again: `python3 -c` takes 2.6 s at 4 MiB, 0.45 s at 16, 0.16 s
 * at 64 and no less above.
 */
enum { TRANSLATION_CACHE_MIB = 64 };

/*
 * mitigations, init_on_alloc: one tenant alone is inside, so the guest need not guard its parts
 * from each other, and under emulation both cost dearly.
 * tsc=reliable: the clock of a clone that was paused is not compared with one that went on.
 * panic=-1 with -no-reboot: a guest that panics ends its process at once, which the shim sees.
 */
static const char kernel_words[] =
	"console=ttyS0 quiet loglevel=4 panic=-1 reboot=t tsc=reliable mitigations=off "
	"init_on_alloc=0 random.trust_cpu=on nowatchdog audit=0 apparmor=0 "
	"transparent_hugepage=madvise";

const char *vm_accel_text(enum vm_accel accel)
{
	return accel == VM_ACCEL_KVM ? "kvm" : "tcg";
}

bool vm_accel_parse(const char *text, enum vm_accel *out_accel)
{
	if (strcmp(text, "kvm") == 0)
		*out_accel = VM_ACCEL_KVM;
	else if (strcmp(text, "tcg") == 0)
		*out_accel = VM_ACCEL_TCG;
	else
		return false;
	return true;
}

const char *vm_machine_cpu(enum vm_accel accel)
{
	return accel == VM_ACCEL_KVM ? "host" : "max";
}

int vm_shape_check(const struct vm_shape *shape, struct err *err)
{
	if (shape->vcpus < 1 || shape->vcpus > VM_VCPUS_MAX)
		return err_set(err, "%u vCPUs: 1 to %d are possible", shape->vcpus, VM_VCPUS_MAX);
	if (shape->mem_mib < VM_MEM_MIB_MIN || shape->mem_mib > VM_MEM_MIB_MAX)
		return err_set(err, "%u MiB of memory: %d to %d are possible", shape->mem_mib,
			       VM_MEM_MIB_MIN, VM_MEM_MIB_MAX);
	if (shape->disk_mib < VM_DISK_MIB_MIN || shape->disk_mib > VM_DISK_MIB_MAX)
		return err_set(err, "%u MiB of disk: %d to %d are possible", shape->disk_mib,
			       VM_DISK_MIB_MIN, VM_DISK_MIB_MAX);
	return 0;
}

/* Too long is remembered by words_n and told once, at the end. */
static void argv_add(struct vm_argv *argv, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void argv_add(struct vm_argv *argv, const char *format, ...)
{
	size_t room = sizeof(argv->text) - argv->text_n;
	va_list args;
	int n;

	if (argv->words_n >= VM_ARGV_MAX - 1)
		return;
	va_start(args, format);
	n = vsnprintf(argv->text + argv->text_n, room, format, args);
	va_end(args);
	CHECK(n >= 0);
	if ((size_t)n >= room) {
		argv->words_n = VM_ARGV_MAX - 1;
		return;
	}
	argv->words[argv->words_n++] = argv->text + argv->text_n;
	argv->text_n += (size_t)n + 1;
}

static void argv_option(struct vm_argv *argv, const char *option)
{
	argv_add(argv, "%s", option);
}

static void add_machine(struct vm_argv *argv, const struct vm_launch *launch)
{
	const struct vm_shape *shape = &launch->shape;

	argv_option(argv, "-nodefaults");
	argv_option(argv, "-no-user-config");
	argv_option(argv, "-no-reboot");
	argv_option(argv,
		    "-S"); /* runs when told to, so that nothing comes before the link is down */
	argv_option(argv, "-display");
	argv_option(argv, "none");
	argv_option(argv, "-sandbox");
	argv_option(argv,
		    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	argv_option(argv, "-machine");
	argv_add(argv,
		 "%s,hpet=off,smm=off,usb=off,vmport=off,sata=off,smbus=off,i8042=off,"
		 "memory-backend=ram",
		 vm_machine_type);
	argv_option(argv, "-accel");
	if (launch->accel == VM_ACCEL_KVM)
		argv_option(argv, "kvm");
	else
		argv_add(argv, "tcg,tb-size=%d", TRANSLATION_CACHE_MIB);
	argv_option(argv, "-cpu");
	argv_option(argv, vm_machine_cpu(launch->accel));
	argv_option(argv, "-smp");
	argv_add(argv, "cpus=%u,sockets=1", shape->vcpus);
	argv_option(argv, "-m");
	argv_add(argv, "%uM", shape->mem_mib);
	argv_option(argv, "-object");
	argv_add(argv, "memory-backend-file,id=ram,size=%uM,mem-path=%s,share=%s", shape->mem_mib,
		 launch->mem, launch->overlay ? "off" : "on");
	argv_option(argv, "-kernel");
	argv_option(argv, launch->kernel);
	argv_option(argv, "-initrd");
	argv_option(argv, launch->initrd);
	argv_option(argv, "-append");
	argv_option(argv, kernel_words);
}

/*
 * How a guest's knock on a device reaches it.  Under emulation an event descriptor for each queue
 * only costs: each is hooked into the memory map again at every resume, 2 ms in all.
 */
static const char *notify_option(const struct vm_launch *launch)
{
	return launch->accel == VM_ACCEL_KVM ? "ioeventfd=on" : "ioeventfd=off";
}

static void add_channels(struct vm_argv *argv, const struct vm_launch *launch)
{
	argv_option(argv, "-chardev");
	argv_add(argv, "socket,id=qmp,fd=%d", launch->qmp_fd);
	argv_option(argv, "-mon");
	argv_option(argv, "chardev=qmp,mode=control");
	argv_option(argv, "-chardev");
	argv_add(argv, "socket,id=mux,fd=%d", launch->mux_fd);
	argv_option(argv, "-chardev");
	argv_add(argv, "socket,id=console,fd=%d", launch->console_fd);
	argv_option(argv, "-chardev");
	argv_add(argv, "socket,id=kernel,fd=%d", launch->kernel_fd);
	argv_option(argv, "-device");
	argv_option(argv, "isa-serial,chardev=kernel");
	argv_option(argv, "-device");
	argv_add(argv, "virtio-serial-pci,id=serial,max_ports=3,%s", notify_option(launch));
	argv_option(argv, "-device");
	argv_option(argv, "virtserialport,bus=serial.0,nr=1,chardev=mux,name=flotilla.mux");
	argv_option(argv, "-device");
	argv_option(argv, "virtserialport,bus=serial.0,nr=2,chardev=console,name=flotilla.console");
}

/*
 * The first disk is the template's root filesystem, the second one the sandbox's own.  What a guest
 * wrote dies with it, so its flushes need not reach the host's disk; and what it discards need not
 * stay there.
 */
static void add_disks(struct vm_argv *argv, const struct vm_launch *launch)
{
	argv_option(argv, "-blockdev");
	argv_add(argv, "driver=file,node-name=root-file,read-only=on,filename=%s", launch->rootfs);
	argv_option(argv, "-blockdev");
	argv_option(argv, "driver=raw,node-name=root,read-only=on,file=root-file");
	argv_option(argv, "-device");
	argv_add(argv, "virtio-blk-pci,drive=root,%s", notify_option(launch));

	if (launch->disk) {
		argv_option(argv, "-blockdev");
		argv_add(argv,
			 "driver=file,node-name=base-file,read-only=%s,discard=unmap,filename=%s",
			 launch->overlay ? "on" : "off", launch->disk);
		argv_option(argv, "-blockdev");
		argv_add(argv, "driver=raw,node-name=%s,read-only=%s,discard=unmap,file=base-file",
			 launch->overlay ? "base" : "disk", launch->overlay ? "on" : "off");
	}
	if (launch->overlay) {
		argv_option(argv, "-blockdev");
		argv_add(argv, "driver=file,node-name=disk-file,discard=unmap,filename=%s",
			 launch->overlay);
		argv_option(argv, "-blockdev");
		argv_add(argv,
			 "driver=qcow2,node-name=disk,discard=unmap,cache.no-flush=on,"
			 "file=disk-file%s",
			 launch->disk ? ",backing=base" : "");
	}
	argv_option(argv, "-device");
	argv_add(argv, "virtio-blk-pci,drive=disk,write-cache=on,%s", notify_option(launch));

	if (launch->archive) {
		argv_option(argv, "-blockdev");
		argv_add(argv, "driver=file,node-name=archive-file,read-only=on,filename=%s",
			 launch->archive);
		argv_option(argv, "-blockdev");
		argv_option(argv, "driver=raw,node-name=archive,read-only=on,file=archive-file");
		argv_option(argv, "-device");
		argv_add(argv, "virtio-blk-pci,drive=archive,%s", notify_option(launch));
	}
}

static void add_others(struct vm_argv *argv, const struct vm_launch *launch)
{
	/* A hub with nothing else on it: a card that reaches nobody and needs nothing of the host.
	 */
	argv_option(argv, "-netdev");
	argv_option(argv, "hubport,id=nowhere,hubid=0");
	argv_option(argv, "-device");
	argv_add(argv, "virtio-net-pci,id=" VM_NETWORK_CARD ",netdev=nowhere,romfile=,%s",
		 notify_option(launch));
	argv_option(argv, "-device");
	argv_option(argv, "vmgenid,guid=auto");
	argv_option(argv, "-device");
	argv_add(argv, "virtio-rng-pci,%s", notify_option(launch));
	/* xen-save-devices-state begins with no such section. */
	if (launch->is_difference) {
		argv_option(argv, "-global");
		argv_option(argv, "migration.send-configuration=off");
	}
	if (launch->overlay && launch->disk && !launch->is_cold) {
		argv_option(argv, "-incoming");
		argv_option(argv, "defer");
	}
}

int vm_argv_build(const struct vm_launch *launch, struct vm_argv *out_argv, struct err *err)
{
	const char *paths[] = {launch->rootfs, launch->disk, launch->mem, launch->overlay,
			       launch->archive};

	for (size_t i = 0; i < ARRAY_N(paths); i++)
		if (paths[i] && strchr(paths[i], ','))
			return err_set(err, "%s: a comma in a path is not possible", paths[i]);
	if (vm_shape_check(&launch->shape, err))
		return -1;
	out_argv->words_n = 0;
	out_argv->text_n = 0;
	argv_option(out_argv, "qemu-system-x86_64");
	argv_option(out_argv, "-name");
	argv_option(out_argv, launch->name);
	add_machine(out_argv, launch);
	add_channels(out_argv, launch);
	add_disks(out_argv, launch);
	add_others(out_argv, launch);
	if (out_argv->words_n == VM_ARGV_MAX - 1)
		return err_set(err, "the command line is too long");
	out_argv->words[out_argv->words_n] = NULL;
	return 0;
}

int vm_machine_fingerprint(const struct vm_shape *shape, enum vm_accel accel,
			   char out_text[VM_FINGERPRINT_MAX], struct err *err)
{
	const struct vm_launch launch = {
		.name = "name",
		.shape = *shape,
		.accel = accel,
		.kernel = "kernel",
		.initrd = "initrd",
		.rootfs = "rootfs",
		.disk = "disk",
		.mem = "mem",
		.overlay = "overlay",
	};
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: nobody gains by a collision */
	struct vm_argv *argv = malloc(sizeof(*argv));

	if (!argv || vm_argv_build(&launch, argv, err)) {
		free(argv);
		return -1;
	}
	for (size_t i = 0; i < argv->text_n; i++)
		hash = (hash ^ (uint8_t)argv->text[i]) * 0x100000001b3u;
	snprintf(out_text, VM_FINGERPRINT_MAX, "%016llx", (unsigned long long)hash);
	free(argv);
	return 0;
}
