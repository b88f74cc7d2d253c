/* A PKCS #11 module that hands everything to another one (SLOW_SIGN_MODULE), and takes
 * SLOW_SIGN_US microseconds longer over each C_Sign: a token behind a network. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#define SIGN 43 /* C_Sign's place in CK_FUNCTION_LIST (PKCS #11 2.40, 3.1) */

typedef unsigned long (*function)();
typedef unsigned long sign_function(unsigned long, unsigned char *, unsigned long,
                                    unsigned char *, unsigned long *);
struct functions {
    unsigned char version[2];
    function pointers[68];
};

static struct functions functions;
static sign_function *sign;

static unsigned long slow_sign(unsigned long session, unsigned char *data, unsigned long length,
                               unsigned char *signature, unsigned long *signature_length)
{
    long wait = atol(getenv("SLOW_SIGN_US"));
    struct timespec pause = {wait / 1000000, wait % 1000000 * 1000};
    if (signature)
        nanosleep(&pause, NULL);
    return sign(session, data, length, signature, signature_length);
}

unsigned long C_GetFunctionList(struct functions **list)
{
    void *module = dlopen(getenv("SLOW_SIGN_MODULE"), RTLD_NOW);
    unsigned long (*get)(struct functions **);
    struct functions *found;
    if (!module)
        return 5; /* CKR_GENERAL_ERROR */
    get = (unsigned long (*)(struct functions **))dlsym(module, "C_GetFunctionList");
    if (get(&found))
        return 5;
    functions = *found;
    sign = (sign_function *)functions.pointers[SIGN];
    functions.pointers[SIGN] = (function)slow_sign;
    *list = &functions;
    return 0;
}
