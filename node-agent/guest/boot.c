/* From the kernel's hand to a running sandbox: see boot.h. */
#include "node-agent/guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"

#define ROOT_IMAGE    "/dev/vda"
#define WRITABLE_DISK "/dev/vdb"
#define LOWER         "/lower" /* the image, read-only */
#define DISK          "/disk"  /* what the sandbox writes */
#define ROOT          "/root"  /* both, one over the other */
/* Redirects: a folder of the image could not be renamed without them. */
#define OVERLAY_OPTIONS                                                                            \
	"lowerdir=" LOWER ",upperdir=" DISK "/upper,workdir=" DISK "/work,redirect_dir=on"

enum {
	DEVICE_WAIT_MS = 10 * 1000, /* disks appear when their driver has found them */
	DEVICE_TRY_MS = 2,
	FILES_SOFT_MAX = 64 * 1024,
	FILES_HARD_MAX = 1024 * 1024,
};

void boot_say(const char *format, ...)
{
	char line[600];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	dprintf(STDERR_FILENO, "flotilla-guest: %s\n", line);
}

void boot_give_up(const char *why)
{
	boot_say("%s", why);
	if (getpid() == 1) {
		sync();
		reboot(RB_POWER_OFF);
	}
	_exit(1);
}

static int folder_make(const char *path, mode_t mode, struct err *err)
{
	if (mkdir(path, mode) && errno != EEXIST)
		return err_errno(err, errno, "make %s", path);
	return 0;
}

static int mount_at(const char *source, const char *target, const char *type, unsigned long flags,
		    const char *options, struct err *err)
{
	if (folder_make(target, 0755, err))
		return -1;
	if (mount(source, target, type, flags, options))
		return err_errno(err, errno, "mount %s at %s", source, target);
	return 0;
}

/* Standard files, whatever the kernel gave us: a pipe must never be number 0, 1 or 2. */
static void console_open(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static int kernel_folders_mount(struct err *err)
{
	if (mount_at("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err) ||
	    mount_at("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err))
		return -1;
	if (folder_make("/dev", 0755, err))
		return -1;
	/* The kernel may have mounted it already. */
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") && errno != EBUSY)
		return err_errno(err, errno, "mount devtmpfs at /dev");
	return 0;
}

static int module_load(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;

	if (fd < 0)
		return err_errno(err, errno, "module %s", path);
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		result = err_errno(err, errno, "module %s", path);
	close(fd);
	unlink(path); /* it is in the kernel now, and this file system is memory */
	return result;
}

/* In the order of the list; none when there is no list. */
static int modules_load(struct err *err)
{
	FILE *list = fopen("/modules.list", "re");
	char path[PATH_MAX];
	int result = 0;

	if (!list)
		return 0;
	while (!result && fgets(path, sizeof(path), list)) {
		path[strcspn(path, "\n")] = 0;
		if (path[0])
			result = module_load(path, err);
	}
	fclose(list);
	unlink("/modules.list");
	return result;
}

static int device_wait(const char *path, struct err *err)
{
	struct timespec pause = {0, DEVICE_TRY_MS * 1000000L};

	for (int waited_ms = 0; waited_ms < DEVICE_WAIT_MS; waited_ms += DEVICE_TRY_MS) {
		if (!access(path, F_OK))
			return 0;
		nanosleep(&pause, NULL);
	}
	return err_set(err, "%s does not appear", path);
}

static int image_mount(struct err *err)
{
	static const char *const types[] = {"squashfs", "erofs", "ext4"};

	if (device_wait(ROOT_IMAGE, err) || folder_make(LOWER, 0755, err))
		return -1;
	for (size_t i = 0; i < ARRAY_N(types); i++)
		if (!mount(ROOT_IMAGE, LOWER, types[i], MS_RDONLY | MS_NODEV, NULL))
			return 0;
	return err_errno(err, errno, "mount the root image " ROOT_IMAGE);
}

/* The template is of an image: its root is a folder of the disk, and nothing of ours is below. */
static int whole_root_mount(struct err *err)
{
	if (device_wait(WRITABLE_DISK, err) ||
	    mount_at(WRITABLE_DISK, DISK, "ext4", MS_NOATIME, NULL, err))
		return -1;
	return mount_at(DISK "/" BOOT_WHOLE_FOLDER, ROOT, NULL, MS_BIND, NULL, err);
}

static int root_mount(struct err *err)
{
	if (!access("/" BOOT_WHOLE_MARK, F_OK))
		return whole_root_mount(err);
	if (image_mount(err) || device_wait(WRITABLE_DISK, err) ||
	    mount_at(WRITABLE_DISK, DISK, "ext4", MS_NOATIME, NULL, err) ||
	    folder_make(DISK "/upper", 0755, err) || folder_make(DISK "/work", 0755, err))
		return -1;
	return mount_at("overlay", ROOT, "overlay", MS_NOATIME, OVERLAY_OPTIONS, err);
}

static int root_enter(struct err *err)
{
	static const char *const moved[] = {"/proc", "/sys", "/dev"};

	for (size_t i = 0; i < ARRAY_N(moved); i++) {
		char target[32];

		snprintf(target, sizeof(target), ROOT "%s", moved[i]);
		if (mount_at(moved[i], target, NULL, MS_MOVE, NULL, err))
			return -1;
	}
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return err_errno(err, errno, "enter the new root");
	return 0;
}

/* /tmp stays on the disk: it may become larger than memory. */
static int sandbox_folders_mount(struct err *err)
{
	if (mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		     "gid=5,mode=620,ptmxmode=666", err) ||
	    mount_at("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", err) ||
	    mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", err) ||
	    folder_make("/run/lock", 01777, err) || folder_make("/tmp", 01777, err))
		return -1;
	if (chmod("/tmp", 01777))
		return err_errno(err, errno, "open /tmp to everybody");
	return 0;
}

/* What udev would do: names that programs expect, and nothing else. */
static void device_names_make(void)
{
	if (symlink("/proc/self/fd", "/dev/fd") || symlink("fd/0", "/dev/stdin") ||
	    symlink("fd/1", "/dev/stdout") || symlink("fd/2", "/dev/stderr"))
		boot_say("names in /dev: %s", strerror(errno));
}

/* So that the claim, which adds a name to it, need not wait until the file has been copied from the
 * image to the disk. */
static void hosts_prepare(void)
{
	int fd = open("/etc/hosts", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

	if (fd >= 0)
		close(fd);
}

static int loopback_up(struct err *err)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo"};
	int result = 0;

	if (fd < 0)
		return err_errno(err, errno, "loopback");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		result = err_errno(err, errno, "loopback");
	close(fd);
	return result;
}

int boot_system(struct err *err)
{
	struct rlimit files = {FILES_SOFT_MAX, FILES_HARD_MAX};

	umask(0);
	if (kernel_folders_mount(err))
		return -1;
	console_open();
	if (modules_load(err) || root_mount(err) || root_enter(err) || sandbox_folders_mount(err) ||
	    loopback_up(err))
		return -1;
	device_names_make();
	umask(022);
	hosts_prepare();
	setrlimit(RLIMIT_NOFILE, &files);
	if (sethostname("sandbox", 7))
		return err_errno(err, errno, "host name");
	return 0;
}
