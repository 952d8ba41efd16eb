/* SQLite's side of the disk in memory: files, locks, shared memory, as one machine has them. */
#include "tests/durability/disk.h"

#include "common/base/check.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk *disk_now;

static sqlite3_vfs *real;
static int checkpoint_at;
static bool plants_synchronous_off;

struct disk_handle {
	sqlite3_file base;
	struct disk *disk;
	struct disk_file *file;
	int lock; /* SQLITE_LOCK_... */
	bool shm_shared[8], shm_exclusive[8];
};

static struct disk_handle *handle_of(sqlite3_file *file)
{
	return (struct disk_handle *)file;
}

/* The code that this call fails with, or SQLITE_OK. */
static int disk_fault(struct disk *disk)
{
	uint64_t call = ++disk->calls_n;

	if (!disk->fail_at || call < disk->fail_at || (call > disk->fail_at && !disk->fail_lasts))
		return SQLITE_OK;
	disk->failed_n++;
	return disk->fail_code;
}

/* ---- bytes ---- */

static int handle_close(sqlite3_file *base)
{
	struct disk_handle *handle = handle_of(base);

	for (size_t i = 0; i < DISK_HANDLES_MAX; i++)
		if (handle->file->handles[i] == handle)
			handle->file->handles[i] = NULL;
	return SQLITE_OK;
}

static int handle_read(sqlite3_file *base, void *out, int n, sqlite3_int64 at)
{
	const struct disk_file *file = handle_of(base)->file;

	disk_file_read(file, (uint64_t)at, out, (size_t)n);
	return (uint64_t)at + (uint64_t)n <= file->size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int handle_write(sqlite3_file *base, const void *data, int n, sqlite3_int64 at)
{
	struct disk_handle *handle = handle_of(base);
	int fault = disk_fault(handle->disk);

	if (fault)
		return fault;
	disk_file_write(handle->file, (uint64_t)at, data, (size_t)n);
	disk_log_add(handle->disk, DISK_WRITE, handle->file, (uint64_t)at, data, (size_t)n);
	return SQLITE_OK;
}

static int handle_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct disk_handle *handle = handle_of(base);

	if (disk_fault(handle->disk))
		return SQLITE_IOERR_TRUNCATE;
	disk_file_truncate(handle->file, (uint64_t)size);
	disk_log_add(handle->disk, DISK_TRUNCATE, handle->file, (uint64_t)size, NULL, 0);
	return SQLITE_OK;
}

static int handle_sync(sqlite3_file *base, int flags)
{
	struct disk_handle *handle = handle_of(base);

	(void)flags;
	if (disk_fault(handle->disk))
		return SQLITE_IOERR_FSYNC;
	disk_log_add(handle->disk, DISK_SYNC, handle->file, 0, NULL, 0);
	return SQLITE_OK;
}

static int handle_size(sqlite3_file *base, sqlite3_int64 *out_size)
{
	*out_size = (sqlite3_int64)handle_of(base)->file->size;
	return SQLITE_OK;
}

/* ---- locks on the file ---- */

static int others_lock(const struct disk_handle *handle)
{
	int most = SQLITE_LOCK_NONE;

	for (size_t i = 0; i < DISK_HANDLES_MAX; i++) {
		const struct disk_handle *other = handle->file->handles[i];
		if (other && other != handle && other->lock > most)
			most = other->lock;
	}
	return most;
}

static int handle_lock(sqlite3_file *base, int level)
{
	struct disk_handle *handle = handle_of(base);
	int others = others_lock(handle);
	bool free_ = level == SQLITE_LOCK_SHARED     ? others < SQLITE_LOCK_PENDING
		     : level == SQLITE_LOCK_RESERVED ? others < SQLITE_LOCK_RESERVED
						     : others == SQLITE_LOCK_NONE;

	if (handle->lock >= level)
		return SQLITE_OK;
	if (!free_)
		return SQLITE_BUSY;
	handle->lock = level;
	return SQLITE_OK;
}

static int handle_unlock(sqlite3_file *base, int level)
{
	struct disk_handle *handle = handle_of(base);

	if (handle->lock > level)
		handle->lock = level;
	return SQLITE_OK;
}

static int handle_is_reserved(sqlite3_file *base, int *out)
{
	struct disk_handle *handle = handle_of(base);

	*out = handle->lock >= SQLITE_LOCK_RESERVED || others_lock(handle) >= SQLITE_LOCK_RESERVED;
	return SQLITE_OK;
}

/* ---- shared memory, which no crash keeps ---- */

static int handle_shm_map(sqlite3_file *base, int region, int n, int extends,
			  void volatile **out_memory)
{
	struct disk_file *file = handle_of(base)->file;

	CHECK(region < DISK_SHM_MAX);
	if (!file->shm[region] && extends) {
		file->shm[region] = calloc(1, (size_t)n);
		CHECK(file->shm[region]);
	}
	*out_memory = file->shm[region];
	return SQLITE_OK;
}

static int handle_shm_lock(sqlite3_file *base, int from, int n, int flags)
{
	struct disk_handle *handle = handle_of(base);
	struct disk_file *file = handle->file;
	bool shared = flags & SQLITE_SHM_SHARED, locks = flags & SQLITE_SHM_LOCK;

	for (int i = from; locks && i < from + n; i++) {
		int others = file->shm_shared[i] - handle->shm_shared[i];
		if ((file->shm_exclusive[i] && !handle->shm_exclusive[i]) ||
		    (!shared && others > 0))
			return SQLITE_BUSY;
	}
	for (int i = from; i < from + n; i++) {
		if (shared) {
			file->shm_shared[i] += locks - handle->shm_shared[i];
			handle->shm_shared[i] = locks;
		} else {
			file->shm_exclusive[i] = handle->shm_exclusive[i] = locks;
		}
	}
	return SQLITE_OK;
}

static void handle_shm_barrier(sqlite3_file *base)
{
	(void)base;
	__sync_synchronize();
}

static int handle_shm_unmap(sqlite3_file *base, int removes)
{
	struct disk_handle *handle = handle_of(base);

	for (int i = 0; i < 8; i++) {
		handle->file->shm_shared[i] -= handle->shm_shared[i];
		if (handle->shm_exclusive[i])
			handle->file->shm_exclusive[i] = false;
		handle->shm_shared[i] = handle->shm_exclusive[i] = false;
	}
	for (size_t i = 0; removes && i < DISK_SHM_MAX; i++) {
		free(handle->file->shm[i]);
		handle->file->shm[i] = NULL;
	}
	return SQLITE_OK;
}

/* ---- the rest ---- */

/* SQLite shows each pragma to the file first.  Its value is a text of SQLite's own, which is read
 * after us: a shorter one is put in its place. */
static int handle_control(sqlite3_file *base, int op, void *arg)
{
	char **pragma = arg;

	(void)base;
	if (op != SQLITE_FCNTL_PRAGMA || !pragma[2])
		return SQLITE_NOTFOUND;
	if (strcmp(pragma[1], "wal_autocheckpoint") == 0 && strcmp(pragma[2], "0") != 0)
		snprintf(pragma[2], strlen(pragma[2]) + 1, "%d", checkpoint_at);
	if (strcmp(pragma[1], "synchronous") == 0 && plants_synchronous_off)
		snprintf(pragma[2], strlen(pragma[2]) + 1, "OFF");
	return SQLITE_NOTFOUND;
}

static int handle_sector_size(sqlite3_file *base)
{
	(void)base;
	return 4096;
}

/* As SQLite believes of real disks: a sector's other bytes survive a torn write. */
static int handle_characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = handle_close,
	.xRead = handle_read,
	.xWrite = handle_write,
	.xTruncate = handle_truncate,
	.xSync = handle_sync,
	.xFileSize = handle_size,
	.xLock = handle_lock,
	.xUnlock = handle_unlock,
	.xCheckReservedLock = handle_is_reserved,
	.xFileControl = handle_control,
	.xSectorSize = handle_sector_size,
	.xDeviceCharacteristics = handle_characteristics,
	.xShmMap = handle_shm_map,
	.xShmLock = handle_shm_lock,
	.xShmBarrier = handle_shm_barrier,
	.xShmUnmap = handle_shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
		    int *out_flags)
{
	struct disk_handle *handle = handle_of(base);

	(void)vfs;
	CHECK(name && disk_now);
	memset(handle, 0, sizeof(*handle));
	struct disk_file *file = disk_file(disk_now, name);
	if (!file->exists && !(flags & SQLITE_OPEN_CREATE))
		return SQLITE_CANTOPEN;
	file->exists = true;
	handle->base.pMethods = &methods;
	handle->disk = disk_now;
	handle->file = file;
	for (size_t i = 0; i < DISK_HANDLES_MAX; i++) {
		if (file->handles[i])
			continue;
		file->handles[i] = handle;
		if (out_flags)
			*out_flags = flags;
		return SQLITE_OK;
	}
	return SQLITE_CANTOPEN;
}

/* Durable at once: SQLite removes with a flush of the folder, and what it removes without one it
 * has emptied before. */
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int syncs)
{
	struct disk_file *file = disk_file(disk_now, name);

	(void)vfs;
	(void)syncs;
	if (!file->exists)
		return SQLITE_IOERR_DELETE_NOENT;
	if (disk_fault(disk_now))
		return SQLITE_IOERR_DELETE;
	disk_file_truncate(file, 0);
	file->exists = false;
	disk_log_add(disk_now, DISK_DELETE, file, 0, NULL, 0);
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	const struct disk_file *file = disk_file(disk_now, name);

	(void)vfs;
	*out = file->exists && (flags != SQLITE_ACCESS_EXISTS || file->size > 0);
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	snprintf(out, (size_t)n, "%s", name);
	return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	return real->xRandomness(real, n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
	(void)vfs;
	*out = 2460000.5;
	return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	(void)n;
	(void)out;
	return 0;
}

void disk_vfs_plant_synchronous_off(bool planted)
{
	plants_synchronous_off = planted;
}

void disk_vfs_register(int checkpoint_pages)
{
	static sqlite3_vfs vfs = {
		.iVersion = 1,
		.szOsFile = sizeof(struct disk_handle),
		.mxPathname = 191,
		.zName = "disk",
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_path,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_time,
		.xGetLastError = vfs_last_error,
	};

	checkpoint_at = checkpoint_pages;
	real = sqlite3_vfs_find("unix");
	CHECK(real && sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}
