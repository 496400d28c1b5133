"""When may the next request go?"""
