"""Processes that are not trusted, with ids of the build range (``ids``) and a root of their own: ``confine`` for a
parser or an installer, ``throwaway`` for the commands of a template, which see what a jail would."""
