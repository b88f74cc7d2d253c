"""What others implement: protocols and the value objects that cross them, nothing else.

A port's docstring states what an adapter promises about durability, retries and concurrency; the
suite in ``tests/contract`` holds every adapter to it.
"""
