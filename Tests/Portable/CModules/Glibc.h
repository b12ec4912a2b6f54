/* Of the C library what the tests call: Swift's own Glibc module is of the machine that compiles. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
