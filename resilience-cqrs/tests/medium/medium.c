/* A medium that fails while a file named MEDIUM_SWITCH exists: loaded before the C library, it answers writes and syncs of
   regular files with what is in that file: "EIO" fails syncs, "ENOSPC" fails writes that would need room. A word after it
   is a part of the paths that are meant; all of them without one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_meant(int fd, const char *part) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

static int fails(int fd, const char *how) {
    const char *path = getenv("MEDIUM_SWITCH");
    struct stat of;
    char says[64] = {0}, word[16] = {0}, part[48] = {0};
    if (path == NULL || fstat(fd, &of) != 0 || !S_ISREG(of.st_mode)) return 0;
    int at = open(path, O_RDONLY | O_CLOEXEC);
    if (at < 0) return 0;
    ssize_t length = read(at, says, sizeof says - 1);
    close(at);
    if (length <= 0 || sscanf(says, "%15s %47s", word, part) < 1) return 0;
    return strcmp(word, how) == 0 && is_meant(fd, part);
}

/* What lies within a file has its room already. */
static int has_no_room(int fd, off_t end) {
    struct stat of;
    return fails(fd, "ENOSPC") && fstat(fd, &of) == 0 && end > of.st_size;
}

static off_t total(const struct iovec *parts, int count) {
    off_t sum = 0;
    for (int nth = 0; nth < count; nth++) sum += parts[nth].iov_len;
    return sum;
}

#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *from, size_t count) {
    if (fails(fd, "ENOSPC") && has_no_room(fd, lseek(fd, 0, SEEK_CUR) + count)) return errno = ENOSPC, -1;
    return NEXT("write", ssize_t (*)(int, const void *, size_t))(fd, from, count);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
    if (has_no_room(fd, at + count)) return errno = ENOSPC, -1;
    return NEXT("pwrite", ssize_t (*)(int, const void *, size_t, off_t))(fd, from, count, at);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    if (has_no_room(fd, at + count)) return errno = ENOSPC, -1;
    return NEXT("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(fd, from, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (has_no_room(fd, at + total(parts, count))) return errno = ENOSPC, -1;
    return NEXT("pwritev", ssize_t (*)(int, const struct iovec *, int, off_t))(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    if (has_no_room(fd, at + total(parts, count))) return errno = ENOSPC, -1;
    return NEXT("pwritev64", ssize_t (*)(int, const struct iovec *, int, off64_t))(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t count) {
    if (has_no_room(fd, at + count)) return ENOSPC;
    return NEXT("posix_fallocate", int (*)(int, off_t, off_t))(fd, at, count);
}

int posix_fallocate64(int fd, off64_t at, off64_t count) {
    if (has_no_room(fd, at + count)) return ENOSPC;
    return NEXT("posix_fallocate64", int (*)(int, off64_t, off64_t))(fd, at, count);
}

int fsync(int fd) {
    if (fails(fd, "EIO")) return errno = EIO, -1;
    return NEXT("fsync", int (*)(int))(fd);
}

int fdatasync(int fd) {
    if (fails(fd, "EIO")) return errno = EIO, -1;
    return NEXT("fdatasync", int (*)(int))(fd);
}
