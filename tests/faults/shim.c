/* Makes one call of the C library fail, or kills the process there.  Loaded into a process with LD_PRELOAD.

   Only calls on files under one folder count.  `fault_log` writes each of them to a file, as "CALL PATH".  `fault_arm`
   chooses the call that fails: the first one of that name on that path.  Numbers of processes in names of temporary
   files do not count.  Programs call both through ctypes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static char armed_call[32], armed_path[PATH_MAX];
static int armed_errno;                /* 0: kill */
static atomic_int is_armed, stays;     /* stays: all later calls of the kinds that need room fail, too */
static atomic_int is_full, hits;
static int log_file = -1;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, name)

/* Removes what differs from run to run in the names of temporary files: .partial.123.name, .partial.a1_b, tempstate123,
   checkpoint.tmp0123abcd. */
static void normalise(const char *path, char *out, size_t size) {
    size_t at = 0;
    while (*path && at + 2 < size) {
        static const char *const marks[] = {".partial.", "tempstate", "tfevents.", "checkpoint.tmp"};
        int found = 0;
        for (int i = 0; i < 4 && !found; i++) {
            size_t length = strlen(marks[i]);
            if (strncmp(path, marks[i], length) == 0 && at + length + 2 < size) {
                memcpy(out + at, marks[i], length);
                at += length;
                out[at++] = 'N';
                path += length;
                if (i == 2) path += strcspn(path, "/");
                else if (i == 3) path += strspn(path, "0123456789abcdef");
                else {
                    size_t digits = strspn(path, "0123456789");
                    path += digits && strchr("./", path[digits]) ? digits : strcspn(path, "./");
                }
                found = 1;
            }
        }
        if (!found) out[at++] = *path++;
    }
    out[at] = 0;
}

/* The part of a path under the root, normalised; NULL for another path. */
static const char *under_root(const char *path, char *out) {
    size_t length = strlen(root);
    if (!length || strncmp(path, root, length) != 0 || path[length] != '/') return NULL;
    normalise(path + length + 1, out, PATH_MAX);
    return out;
}

static const char *path_of(int descriptor, char *out) {
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) return NULL;
    target[length] = 0;
    return under_root(target, out);
}

/* Whether the call fails; sets errno then.  `needs_room`: it fails on a full disk. */
static int fails(const char *call, const char *path, int needs_room) {
    if (!path) return 0;
    if (log_file >= 0) {
        char line[PATH_MAX + 40];
        int length = snprintf(line, sizeof line, "%s %s\n", call, path);
        REAL(ssize_t, "write", int, const void *, size_t);
        if (real(log_file, line, length) < 0) abort();
    }
    if (is_full && needs_room) { errno = ENOSPC; return 1; }
    if (!is_armed || strcmp(call, armed_call) != 0 || strcmp(path, armed_path) != 0) return 0;
    is_armed = 0;
    hits++;
    if (!armed_errno) kill(getpid(), SIGKILL);
    if (stays) is_full = 1;
    errno = armed_errno;
    return 1;
}

void fault_root(const char *folder) { snprintf(root, sizeof root, "%s", folder); }

void fault_log(const char *path) { log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644); }

void fault_arm(const char *call, const char *path, int error, int stay) {
    snprintf(armed_call, sizeof armed_call, "%s", call);
    snprintf(armed_path, sizeof armed_path, "%s", path);
    armed_errno = error;
    stays = stay;
    is_armed = 1;
}

int fault_hits(void) { return hits; }

/* Calls on open files. */

ssize_t write(int descriptor, const void *bytes, size_t count) {
    char path[PATH_MAX];
    REAL(ssize_t, "write", int, const void *, size_t);
    if (root[0] && descriptor != log_file && fails("write", path_of(descriptor, path), 1)) return -1;
    return real(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    char path[PATH_MAX];
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (root[0] && fails("write", path_of(descriptor, path), 1)) return -1;
    return real(descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    char path[PATH_MAX];
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (root[0] && fails("write", path_of(descriptor, path), 1)) return -1;
    return real(descriptor, bytes, count, offset);
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *file) {
    char path[PATH_MAX];
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    if (root[0] && fails("write", path_of(fileno(file), path), 1)) return 0;
    return real(bytes, size, count, file);
}

int fflush(FILE *file) {
    char path[PATH_MAX];
    REAL(int, "fflush", FILE *);
    if (root[0] && file && fails("flush", path_of(fileno(file), path), 1)) return EOF;
    return real(file);
}

ssize_t read(int descriptor, void *bytes, size_t count) {
    char path[PATH_MAX];
    REAL(ssize_t, "read", int, void *, size_t);
    if (root[0] && fails("read", path_of(descriptor, path), 0)) return -1;
    return real(descriptor, bytes, count);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset) {
    char path[PATH_MAX];
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    if (root[0] && fails("read", path_of(descriptor, path), 0)) return -1;
    return real(descriptor, bytes, count, offset);
}

ssize_t pread64(int descriptor, void *bytes, size_t count, off64_t offset) {
    char path[PATH_MAX];
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    if (root[0] && fails("read", path_of(descriptor, path), 0)) return -1;
    return real(descriptor, bytes, count, offset);
}

int fsync(int descriptor) {
    char path[PATH_MAX];
    REAL(int, "fsync", int);
    if (root[0] && fails("fsync", path_of(descriptor, path), 1)) return -1;
    return real(descriptor);
}

/* Calls on paths. */

static int creates(int flags) { return flags & (O_CREAT | O_TRUNC); }

#define OPEN(name, parameters, before_flags, call_with_mode) \
    int name parameters { \
        char path[PATH_MAX]; \
        mode_t mode = 0; \
        if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
        if (root[0] && fails(creates(flags) ? "create" : "open", under_root(file, path), creates(flags))) return -1; \
        call_with_mode; \
    }

OPEN(open, (const char *file, int flags, ...), , REAL(int, "open", const char *, int, ...); return real(file, flags, mode))
OPEN(open64, (const char *file, int flags, ...), , REAL(int, "open64", const char *, int, ...); return real(file, flags, mode))
OPEN(openat, (int folder, const char *file, int flags, ...), folder,
     REAL(int, "openat", int, const char *, int, ...); return real(folder, file, flags, mode))

#define FOPEN(name) \
    FILE *name(const char *file, const char *mode) { \
        char path[PATH_MAX]; \
        REAL(FILE *, #name, const char *, const char *); \
        int new_file = mode[0] != 'r'; \
        if (root[0] && fails(new_file ? "create" : "open", under_root(file, path), new_file)) return NULL; \
        return real(file, mode); \
    }

FOPEN(fopen)
FOPEN(fopen64)

int rename(const char *from, const char *to) {
    char path[PATH_MAX];
    REAL(int, "rename", const char *, const char *);
    if (root[0] && fails("rename", under_root(to, path), 1)) return -1;
    return real(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    char path[PATH_MAX];
    REAL(int, "renameat", int, const char *, int, const char *);
    if (root[0] && fails("rename", under_root(to, path), 1)) return -1;
    return real(a, from, b, to);
}

int mkdir(const char *folder, mode_t mode) {
    char path[PATH_MAX];
    REAL(int, "mkdir", const char *, mode_t);
    if (root[0] && fails("mkdir", under_root(folder, path), 1)) return -1;
    return real(folder, mode);
}

int unlink(const char *file) {
    char path[PATH_MAX];
    REAL(int, "unlink", const char *);
    if (root[0] && fails("unlink", under_root(file, path), 0)) return -1;
    return real(file);
}

int unlinkat(int folder, const char *file, int flags) {
    char path[PATH_MAX], joined[PATH_MAX];
    REAL(int, "unlinkat", int, const char *, int);
    if (root[0] && folder >= 0) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, joined, sizeof joined - 1);
        if (length > 0 && (size_t) length + strlen(file) + 2 < sizeof joined) {
            joined[length] = '/';
            strcpy(joined + length + 1, file);
            if (fails("unlink", under_root(joined, path), 0)) return -1;
        }
    } else if (root[0] && fails("unlink", under_root(file, path), 0)) return -1;
    return real(folder, file, flags);
}

int rmdir(const char *folder) {
    char path[PATH_MAX];
    REAL(int, "rmdir", const char *);
    if (root[0] && fails("rmdir", under_root(folder, path), 0)) return -1;
    return real(folder);
}
