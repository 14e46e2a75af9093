/* A stand-in for file systems that can do less than others: loaded before libc, it refuses operations below a folder.

   LACKING_FOLDER: the folder. LACKING: words "operation=errno": fsync_folder, fsync_file, lock, link, symlink,
   rename_over, tmpfile, map; and longest=N (of a name, in bytes), fold=1 (names in lower and upper case are the same). */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LONG (2 * PATH_MAX)

static int lacks(const char *operation) { /* the errno to refuse it with, or 0 */
    const char *words = getenv("LACKING"), *at = words;
    size_t length = strlen(operation);
    while (at && (at = strstr(at, operation))) {
        if ((at == words || at[-1] == ' ') && at[length] == '=') return atoi(at + length + 1);
        at += length;
    }
    return 0;
}

static int below(const char *path) { /* where in `path` the part below the folder begins, or 0 */
    const char *folder = getenv("LACKING_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]) ? (int)length : 0;
}

static int descriptor_below(int descriptor) {
    char link[64], path[LONG];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = REAL(readlink)(link, path, sizeof path - 1);
    return n > 0 && (path[n] = 0, below(path));
}

static int absolute(int folder, const char *path, char *room) { /* into `room`; whether that worked */
    size_t n = 0;
    if (*path != '/') {
        char link[64] = "/proc/self/cwd";
        if (folder != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t got = REAL(readlink)(link, room, PATH_MAX);
        if (got < 0) return 0;
        n = got;
        room[n++] = '/';
    }
    return snprintf(room + n, LONG - n, "%s", path) < (int)(LONG - n);
}

static int path_below(int folder, const char *path) {
    char room[LONG];
    return absolute(folder, path, room) && below(room);
}

/* The path as this file system takes it: `path` itself elsewhere; NULL, with errno, for too long a name. */
static const char *taken(int folder, const char *path, char *room) {
    if (!path || !*path || !absolute(folder, path, room) || !below(room)) return path;
    int longest = lacks("longest");
    if (longest && (int)strlen(strrchr(room, '/') + 1) > longest) return errno = ENAMETOOLONG, NULL;
    if (!lacks("fold")) return path;
    for (char *c = room + below(room); *c; c++) *c = tolower((unsigned char)*c);
    return room;
}
#define TAKE(folder, path)                         \
    char room_##path[LONG];                        \
    const char *given_##path = path;               \
    path = taken(folder, path, room_##path);       \
    if (given_##path && !path) return -1
#define REFUSE(operation, condition)               \
    do {                                           \
        int error_ = lacks(operation);             \
        if (error_ && (condition)) return errno = error_, -1; \
    } while (0)

static int flush(int descriptor) {
    struct stat status;
    if (!descriptor_below(descriptor) || fstat(descriptor, &status)) return 0;
    return lacks(S_ISDIR(status.st_mode) ? "fsync_folder" : "fsync_file");
}
int fsync(int descriptor) {
    int error = flush(descriptor);
    return error ? (errno = error, -1) : REAL(fsync)(descriptor);
}
int fdatasync(int descriptor) {
    int error = flush(descriptor);
    return error ? (errno = error, -1) : REAL(fdatasync)(descriptor);
}
int flock(int descriptor, int operation) {
    REFUSE("lock", descriptor_below(descriptor));
    return REAL(flock)(descriptor, operation);
}
void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    int error = descriptor < 0 ? 0 : lacks("map");
    if (error && descriptor_below(descriptor)) return errno = error, MAP_FAILED;
    return REAL(mmap)(address, length, protection, flags, descriptor, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset) {
    return mmap(address, length, protection, flags, descriptor, offset);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
    REFUSE("link", path_below(to, new));
    TAKE(from, old);
    TAKE(to, new);
    return REAL(linkat)(from, old, to, new, flags);
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlinkat(const char *target, int folder, const char *path) {
    REFUSE("symlink", path_below(folder, path));
    TAKE(folder, path);
    return REAL(symlinkat)(target, folder, path);
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }
int renameat(int from, const char *old, int to, const char *new) {
    struct stat status;
    REFUSE("rename_over", path_below(to, new) && !fstatat(to, new, &status, AT_SYMLINK_NOFOLLOW));
    TAKE(from, old);
    TAKE(to, new);
    return REAL(renameat)(from, old, to, new);
}
int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int openat(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, int);
    va_end(more);
    REFUSE("tmpfile", (flags & O_TMPFILE) == O_TMPFILE && path_below(folder, path));
    TAKE(folder, path);
    return REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, int);
    va_end(more);
    return openat(folder, path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, int);
    va_end(more);
    return openat(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, int);
    va_end(more);
    return openat(AT_FDCWD, path, flags, mode);
}
int mkdir(const char *path, mode_t mode) {
    TAKE(AT_FDCWD, path);
    return REAL(mkdir)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    TAKE(folder, path);
    return REAL(mkdirat)(folder, path, mode);
}
int unlink(const char *path) {
    TAKE(AT_FDCWD, path);
    return REAL(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
    TAKE(folder, path);
    return REAL(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) {
    TAKE(AT_FDCWD, path);
    return REAL(rmdir)(path);
}
int access(const char *path, int mode) {
    TAKE(AT_FDCWD, path);
    return REAL(access)(path, mode);
}
ssize_t readlink(const char *path, char *target, size_t size) {
    TAKE(AT_FDCWD, path);
    return REAL(readlink)(path, target, size);
}
int stat(const char *path, struct stat *status) {
    TAKE(AT_FDCWD, path);
    return REAL(stat)(path, status);
}
int stat64(const char *path, struct stat64 *status) {
    TAKE(AT_FDCWD, path);
    return REAL(stat64)(path, status);
}
int lstat(const char *path, struct stat *status) {
    TAKE(AT_FDCWD, path);
    return REAL(lstat)(path, status);
}
int lstat64(const char *path, struct stat64 *status) {
    TAKE(AT_FDCWD, path);
    return REAL(lstat64)(path, status);
}
int fstatat(int folder, const char *path, struct stat *status, int flags) {
    TAKE(folder, path);
    return REAL(fstatat)(folder, path, status, flags);
}
int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    TAKE(folder, path);
    return REAL(fstatat64)(folder, path, status, flags);
}
DIR *opendir(const char *path) {
    char room[LONG];
    path = taken(AT_FDCWD, path, room);
    return path ? REAL(opendir)(path) : NULL;
}
