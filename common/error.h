/* error - a failure as a value: what kind it is, and a sentence for whoever must act on it.
 *
 * Errors are made where the facts are known, return outwards, and are spoken once. */
#ifndef HOLDFAST_COMMON_ERROR_H
#define HOLDFAST_COMMON_ERROR_H

#define ERROR_TEXT_SIZE 512u /* bytes of the sentence with its end; longer ones are cut */

enum error_code {
    ERROR_NONE,
    ERROR_USAGE,    /* wrong command line */
    ERROR_CONFIG,   /* wrong config file */
    ERROR_SYSTEM,   /* a system call failed; the text ends in its reason */
    ERROR_PROTOCOL, /* a peer broke the protocol */
    ERROR_LIMIT,    /* a named limit is reached */
    ERROR_REFUSED,  /* understood, and not done: the text says why */
    ERROR_UNKNOWN,  /* it may have been done or not */
};

struct error {
    enum error_code code;
    char text[ERROR_TEXT_SIZE];
};

/* Fills *error and returns code, so that a function can `return error_set(...)`. */
enum error_code error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like error_set() with ERROR_SYSTEM; appends ": " and the words of errno. */
enum error_code error_system(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
